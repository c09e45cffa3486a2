BEGIN TRANSACTION;
CREATE TABLE accounting_conflicts (
	"ConflictID" INTEGER NOT NULL, 
	"UID" VARCHAR(36) NOT NULL, 
	"JobID" INTEGER NOT NULL, 
	"Digest" VARCHAR(64) NOT NULL, 
	"Body" TEXT NOT NULL, 
	"Detail" VARCHAR(255) NOT NULL, 
	"ArrivalTime" BIGINT NOT NULL, 
	PRIMARY KEY ("ConflictID"), 
	UNIQUE ("UID", "Digest")
);
CREATE TABLE accounting_records (
	"RecordID" INTEGER NOT NULL, 
	"UID" VARCHAR(36) NOT NULL, 
	"RecordedBy" VARCHAR(16) NOT NULL, 
	"Revision" INTEGER NOT NULL, 
	"JobID" INTEGER NOT NULL, 
	"Attempt" INTEGER NOT NULL, 
	"Digest" VARCHAR(64) NOT NULL, 
	"Body" TEXT NOT NULL, 
	"ArrivalTime" BIGINT NOT NULL, 
	"Duplicates" INTEGER NOT NULL, 
	"IsCurrent" INTEGER NOT NULL, 
	PRIMARY KEY ("RecordID"), 
	UNIQUE ("UID", "RecordedBy", "Revision")
);
INSERT INTO "accounting_records" VALUES(1,'a8ab5a16-4caa-574a-a83e-fff8efb12bee','wrapper',1,1,1,'18afc312e564325aef1311c5bcb57a19bb1120c3846a0b3d089c15267578f8ff','{"Attempt":1,"BatchJobID":"","BatchSystem":"","BenchmarkName":"","BenchmarkSource":"","BenchmarkValue":0.0,"CE":"ce1","CPUMethod":"cgroup2","CPUNormalizationFactor":1.0,"CPUSystemTime":0.25,"CPUTime":1.75,"CPUUncertainty":0.001,"CPUUserTime":1.5,"ClockOffset":0.0,"DiskSpace":4096,"EndTime":"2026-01-15T12:00:03.051000Z","ErrorType":"","ExecTime":3.051,"ExitCode":0,"FinalMajorStatus":"Done","FinalMinorStatus":"Execution Complete","HostName":"","InputDataFiles":3,"InputDataSize":550,"InputSandBoxSize":1000,"JobClass":"unknown","JobGroup":"","JobID":1,"JobType":"User","MatchTime":"2026-01-15T11:59:59.000000Z","MaxProcesses":3,"MemoryMethod":"cgroup2","NormCPUTime":1.75,"OrphanCPUTime":0.0,"OutputBytes":107,"OutputDataFiles":0,"OutputDataSize":0,"OutputLines":11,"OutputSandBoxSize":300,"PayloadStarted":true,"PayloadWallClockTime":2.0,"PeakRSS":4194304,"PeekLinesDropped":2,"PilotReference":"","PilotStamp":"","ProcessedEvents":0,"ProcessingType":"unknown","Processors":1,"ProcessorsRequested":1,"Queue":"","QueueWaitTime":28.0,"ReadBytes":100,"RecordTime":"2026-01-15T12:00:03.051000Z","RecordedBy":"wrapper","Revision":1,"SchemaVersion":1,"Site":"LCG.Example.org","StageWallClockTime.execute":2.001,"StageWallClockTime.initialize":0.15,"StageWallClockTime.process_job_outputs":0.4,"StageWallClockTime.resolve_input_data":0.2,"StageWallClockTime.transfer_input_sandbox":0.3,"StartTime":"2026-01-15T12:00:00.000000Z","SubmissionTime":"2026-01-15T11:59:31.000000Z","TraceID":"c82b727c040bc3d6a54d3c68b4ff24ed","UID":"a8ab5a16-4caa-574a-a83e-fff8efb12bee","User":"ada","UserGroup":"users","VO":"gridpp","WMSID":"fd408ab2-f57f-4738-a470-48734ea2a223","WallClockTime":3.051,"WrapperCPUTime":0.25,"WrittenBytes":200}',1795258103505104000,0,1);
CREATE TABLE catalog_files (
	"Catalog" VARCHAR(64) NOT NULL, 
	"LFN" VARCHAR(512) NOT NULL, 
	"Size" BIGINT NOT NULL, 
	"Adler32" VARCHAR(8) NOT NULL, 
	PRIMARY KEY ("Catalog", "LFN")
);
INSERT INTO "catalog_files" VALUES('FileCatalog','/local/a',1,'00620062');
CREATE TABLE catalog_replicas (
	"Catalog" VARCHAR(64) NOT NULL, 
	"LFN" VARCHAR(512) NOT NULL, 
	"SE" VARCHAR(64) NOT NULL, 
	"PFN" VARCHAR(1024) NOT NULL, 
	PRIMARY KEY ("Catalog", "LFN", "SE")
);
INSERT INTO "catalog_replicas" VALUES('FileCatalog','/local/a','SE-USER','x');
CREATE TABLE file_status (
	"VO" VARCHAR(64) NOT NULL, 
	"Owner" VARCHAR(255) NOT NULL, 
	"ProductionID" BIGINT NOT NULL, 
	"LFN" VARCHAR(255) NOT NULL, 
	"Status" VARCHAR(64) NOT NULL, 
	"JobID" INTEGER NOT NULL, 
	"Attempt" INTEGER NOT NULL, 
	"LastUpdateTime" BIGINT NOT NULL, 
	PRIMARY KEY ("VO", "Owner", "ProductionID", "LFN")
);
CREATE TABLE job_attempts (
	"JobID" INTEGER NOT NULL, 
	"Attempt" INTEGER NOT NULL, 
	"UID" VARCHAR(36) NOT NULL, 
	"Claim" VARCHAR(64) NOT NULL, 
	"RunningClaim" VARCHAR(64), 
	"PilotStamp" VARCHAR(32) NOT NULL, 
	"Status" VARCHAR(32) NOT NULL, 
	"MinorStatus" VARCHAR(128) NOT NULL, 
	"MatchTime" BIGINT NOT NULL, 
	"RunningTime" BIGINT, 
	"EndTime" BIGINT, 
	"LastReportTime" BIGINT, 
	"LastHeartbeat" TEXT, 
	"LastSignTime" BIGINT, 
	"Slot" TEXT, 
	PRIMARY KEY ("JobID", "Attempt"), 
	UNIQUE ("UID")
);
INSERT INTO "job_attempts" VALUES(1,1,'a8ab5a16-4caa-574a-a83e-fff8efb12bee','bb923311c42aaf6e082758426912e8ac','bb923311c42aaf6e082758426912e8ac','stamp-1','Done','Execution Complete',1795258103470144000,1795258103478171000,1795258103498342000,1795258103497000000,'{"CPUConsumed": 1.5, "Time": "2026-11-21T10:48:23.488576Z"}',1795258103498342000,'{"GridCE": "", "CEQueue": "", "CPUNormalizationFactor": 1.0}');
INSERT INTO "job_attempts" VALUES(2,1,'906ea377-66b4-5d77-a55b-ab4828a40bbb','3dc856d0c90eb59ca7c3b73d35148fff','3dc856d0c90eb59ca7c3b73d35148fff','stamp-1','Running','Job Initialization',1795258103512645000,1795258103521320000,NULL,1795258103514915000,'{"CPUConsumed": 1.5, "Time": "2026-11-21T10:48:23.533107Z"}',1795258103533107000,'{"GridCE": "", "CEQueue": "", "CPUNormalizationFactor": 1.0}');
CREATE TABLE job_commands (
	"CommandID" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"JobID" INTEGER NOT NULL, 
	"Attempt" INTEGER NOT NULL, 
	"Command" VARCHAR(32) NOT NULL, 
	"OrderTime" BIGINT NOT NULL, 
	"AcknowledgeTime" BIGINT, 
	UNIQUE ("JobID", "Attempt", "Command")
);
CREATE TABLE job_descriptions (
	"JobID" INTEGER NOT NULL, 
	"Description" TEXT NOT NULL, 
	PRIMARY KEY ("JobID")
);
INSERT INTO "job_descriptions" VALUES(1,'{"Executable": "/bin/echo", "JobName": "done", "Priority": 9}');
INSERT INTO "job_descriptions" VALUES(2,'{"Executable": "/bin/echo", "JobName": "runs", "Priority": 8}');
INSERT INTO "job_descriptions" VALUES(3,'{"Executable": "/bin/echo", "JobName": "waits", "Priority": 1}');
CREATE TABLE job_logging (
	"SequenceID" INTEGER NOT NULL, 
	"JobID" INTEGER NOT NULL, 
	"Status" VARCHAR(32), 
	"MinorStatus" VARCHAR(128), 
	"ApplicationStatus" VARCHAR(255), 
	"StatusTime" BIGINT NOT NULL, 
	"ArrivalTime" BIGINT NOT NULL, 
	"Source" VARCHAR(32) NOT NULL, 
	PRIMARY KEY ("SequenceID")
);
INSERT INTO "job_logging" VALUES(1,1,'Received','Job accepted','Unknown',1795258103435310000,1795258103435310000,'JobManager');
INSERT INTO "job_logging" VALUES(2,1,'Checking','JobSanity','Unknown',1795258103444836000,1795258103444836000,'JobPath');
INSERT INTO "job_logging" VALUES(3,1,'Checking','JobScheduling','Unknown',1795258103446171000,1795258103446171000,'JobSanity');
INSERT INTO "job_logging" VALUES(4,1,'Waiting','Pilot Agent Submission','Unknown',1795258103446502000,1795258103446502000,'JobScheduling');
INSERT INTO "job_logging" VALUES(5,2,'Received','Job accepted','Unknown',1795258103453546000,1795258103453546000,'JobManager');
INSERT INTO "job_logging" VALUES(6,2,'Checking','JobSanity','Unknown',1795258103455917000,1795258103455917000,'JobPath');
INSERT INTO "job_logging" VALUES(7,2,'Checking','JobScheduling','Unknown',1795258103456268000,1795258103456268000,'JobSanity');
INSERT INTO "job_logging" VALUES(8,2,'Waiting','Pilot Agent Submission','Unknown',1795258103456507000,1795258103456507000,'JobScheduling');
INSERT INTO "job_logging" VALUES(9,3,'Received','Job accepted','Unknown',1795258103460565000,1795258103460565000,'JobManager');
INSERT INTO "job_logging" VALUES(10,3,'Checking','JobSanity','Unknown',1795258103462937000,1795258103462937000,'JobPath');
INSERT INTO "job_logging" VALUES(11,3,'Checking','JobScheduling','Unknown',1795258103463319000,1795258103463319000,'JobSanity');
INSERT INTO "job_logging" VALUES(12,3,'Waiting','Pilot Agent Submission','Unknown',1795258103463517000,1795258103463517000,'JobScheduling');
INSERT INTO "job_logging" VALUES(13,1,'Matched','Assigned','Unknown',1795258103470144000,1795258103470144000,'Matcher');
INSERT INTO "job_logging" VALUES(14,1,'Running','Job Initialization','Unknown',1795258103475482000,1795258103478171000,'JobWrapper');
INSERT INTO "job_logging" VALUES(15,1,'Completing','Job Initialization','Unknown',1795258103492517000,1795258103494371000,'JobWrapper');
INSERT INTO "job_logging" VALUES(16,1,'Done','Execution Complete','Unknown',1795258103497000000,1795258103498342000,'JobWrapper');
INSERT INTO "job_logging" VALUES(17,2,'Matched','Assigned','Unknown',1795258103512645000,1795258103512645000,'Matcher');
INSERT INTO "job_logging" VALUES(18,2,'Running','Job Initialization','Unknown',1795258103514915000,1795258103521320000,'JobWrapper');
CREATE TABLE job_parameters (
	"JobID" INTEGER NOT NULL, 
	"Name" VARCHAR(255) NOT NULL, 
	"Value" TEXT NOT NULL, 
	"Time" BIGINT NOT NULL, 
	PRIMARY KEY ("JobID", "Name")
);
INSERT INTO "job_parameters" VALUES(1,'HostName','"wn1"',1795258103484172000);
INSERT INTO "job_parameters" VALUES(1,'PayloadPID','7',1795258103484172000);
INSERT INTO "job_parameters" VALUES(1,'StandardOutput','"hello\n"',1795258103488576000);
INSERT INTO "job_parameters" VALUES(2,'HostName','"wn1"',1795258103528039000);
INSERT INTO "job_parameters" VALUES(2,'PayloadPID','7',1795258103528039000);
INSERT INTO "job_parameters" VALUES(2,'StandardOutput','"hello\n"',1795258103533107000);
CREATE TABLE job_to_pilot (
	"JobID" INTEGER NOT NULL, 
	"Attempt" INTEGER NOT NULL, 
	"PilotStamp" VARCHAR(32) NOT NULL, 
	"StartTime" BIGINT NOT NULL, 
	PRIMARY KEY ("JobID", "Attempt")
);
INSERT INTO "job_to_pilot" VALUES(1,1,'stamp-1',1795258103470144000);
INSERT INTO "job_to_pilot" VALUES(2,1,'stamp-1',1795258103512645000);
CREATE TABLE jobs (
	"JobID" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"JobType" VARCHAR(32) NOT NULL, 
	"JobGroup" VARCHAR(32) NOT NULL, 
	"Site" VARCHAR(100) NOT NULL, 
	"JobName" VARCHAR(128) NOT NULL, 
	"Owner" VARCHAR(64) NOT NULL, 
	"OwnerGroup" VARCHAR(128) NOT NULL, 
	"VO" VARCHAR(64) NOT NULL, 
	"SubmissionTime" BIGINT NOT NULL, 
	"RescheduleTime" BIGINT, 
	"LastUpdateTime" BIGINT, 
	"StartExecTime" BIGINT, 
	"HeartBeatTime" BIGINT, 
	"EndExecTime" BIGINT, 
	"Status" VARCHAR(32) NOT NULL, 
	"MinorStatus" VARCHAR(128) NOT NULL, 
	"ApplicationStatus" VARCHAR(255) NOT NULL, 
	"UserPriority" INTEGER NOT NULL, 
	"RescheduleCounter" INTEGER NOT NULL, 
	"VerifiedFlag" BOOLEAN NOT NULL, 
	"AccountedFlag" BOOLEAN NOT NULL, 
	"PreemptedCounter" INTEGER NOT NULL, 
	"LastStatusTime" BIGINT NOT NULL, 
	"SubmitStart" BIGINT NOT NULL, 
	"SubmitEnd" BIGINT NOT NULL, 
	"WaitingTime" BIGINT, 
	"SubmitTraceparent" VARCHAR(64) NOT NULL
);
INSERT INTO "jobs" VALUES(1,'User','00000000','LCG.Test.org','done','alice','local_user','local',1795258103435310000,NULL,1795258103498342000,1795258103475482000,1795258103497000000,1795258103497000000,'Done','Execution Complete','Unknown',9,0,1,1,0,1795258103497000000,1795258103433616000,1795258103440636000,1795258103446502000,'');
INSERT INTO "jobs" VALUES(2,'User','00000000','LCG.Test.org','runs','alice','local_user','local',1795258103453546000,NULL,1795258103521320000,1795258103514915000,1795258103533107000,NULL,'Running','Job Initialization','Unknown',8,0,1,0,0,1795258103514915000,1795258103453038000,1795258103454582000,1795258103456507000,'');
INSERT INTO "jobs" VALUES(3,'User','00000000','ANY','waits','alice','local_user','local',1795258103460565000,NULL,1795258103463517000,NULL,NULL,NULL,'Waiting','Pilot Agent Submission','Unknown',1,0,1,0,0,1795258103463517000,1795258103460183000,1795258103461291000,1795258103463517000,'');
CREATE TABLE leases (
	"Name" VARCHAR(64) NOT NULL, 
	"Holder" VARCHAR(64) NOT NULL, 
	"ExpiryTime" BIGINT NOT NULL, 
	PRIMARY KEY ("Name")
);
CREATE TABLE pilots (
	"PilotID" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"PilotStamp" VARCHAR(32) NOT NULL, 
	"VO" VARCHAR(128) NOT NULL, 
	"GridType" VARCHAR(32) NOT NULL, 
	"GridSite" VARCHAR(128) NOT NULL, 
	"DestinationSite" VARCHAR(128) NOT NULL, 
	"PilotJobReference" VARCHAR(255) NOT NULL, 
	"Queue" VARCHAR(128) NOT NULL, 
	"Status" VARCHAR(32) NOT NULL, 
	"StatusReason" VARCHAR(255) NOT NULL, 
	"BenchMark" FLOAT NOT NULL, 
	"CurrentJobID" INTEGER NOT NULL, 
	"SubmissionTime" BIGINT NOT NULL, 
	"LastUpdateTime" BIGINT NOT NULL, 
	UNIQUE ("PilotStamp")
);
INSERT INTO "pilots" VALUES(1,'stamp-1','local','DIRAC','Unknown','NotAssigned','ref','Unknown','Submitted','Unknown',0.0,0,1795258103552280000,1795258103552280000);
CREATE TABLE request_operations (
	"RequestID" INTEGER NOT NULL, 
	"Position" INTEGER NOT NULL, 
	"Type" VARCHAR(64) NOT NULL, 
	"Status" VARCHAR(16) NOT NULL, 
	"Error" VARCHAR(500) NOT NULL, 
	"Document" TEXT NOT NULL, 
	"DoneTime" BIGINT, 
	PRIMARY KEY ("RequestID", "Position")
);
CREATE TABLE requests (
	"RequestID" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"RequestName" VARCHAR(255) NOT NULL, 
	"JobID" INTEGER NOT NULL, 
	"Attempt" INTEGER NOT NULL, 
	"Checksum" VARCHAR(64) NOT NULL, 
	"Status" VARCHAR(16) NOT NULL, 
	"Failures" INTEGER NOT NULL, 
	"Error" VARCHAR(500) NOT NULL, 
	"CreationTime" BIGINT NOT NULL, 
	"LastUpdateTime" BIGINT NOT NULL, 
	"NotBefore" BIGINT NOT NULL, 
	"Claim" VARCHAR(64), 
	"LeaseUntil" BIGINT, 
	UNIQUE ("JobID", "Attempt", "RequestName")
);
CREATE TABLE sandbox_mapping (
	"SBId" INTEGER NOT NULL, 
	"JobID" INTEGER NOT NULL, 
	"Type" VARCHAR(16) NOT NULL, 
	UNIQUE ("SBId", "JobID", "Type")
);
CREATE TABLE sandboxes (
	"SBId" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"PFN" VARCHAR(512) NOT NULL, 
	"Owner" VARCHAR(64) NOT NULL, 
	"OwnerGroup" VARCHAR(128) NOT NULL, 
	"VO" VARCHAR(64) NOT NULL, 
	"Checksum" VARCHAR(64) NOT NULL, 
	"Bytes" BIGINT NOT NULL, 
	"Stored" BOOLEAN NOT NULL, 
	"RegistrationTime" BIGINT NOT NULL, 
	UNIQUE ("PFN")
);
CREATE TABLE system_facts (
	"Name" VARCHAR(64) NOT NULL, 
	"Value" VARCHAR(255), 
	PRIMARY KEY ("Name")
);
INSERT INTO "system_facts" VALUES('SchemaVersion','1');
INSERT INTO "system_facts" VALUES('WMSID','fd408ab2-f57f-4738-a470-48734ea2a223');
CREATE INDEX jobs_by_owner ON jobs ("Owner", "OwnerGroup");
CREATE INDEX jobs_by_status ON jobs ("Status", "UserPriority", "JobID");
CREATE INDEX records_by_job ON accounting_records ("JobID", "Attempt");
CREATE INDEX conflicts_by_job ON accounting_conflicts ("JobID");
CREATE INDEX file_status_by_job ON file_status ("JobID");
CREATE INDEX attempts_by_pilot ON job_attempts ("PilotStamp");
CREATE INDEX logging_by_job ON job_logging ("JobID", "StatusTime", "SequenceID");
CREATE INDEX jobs_of_pilot ON job_to_pilot ("PilotStamp");
CREATE INDEX requests_by_status ON requests ("Status", "NotBefore");
CREATE INDEX "ix_sandbox_mapping_JobID" ON sandbox_mapping ("JobID");
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',3);
INSERT INTO "sqlite_sequence" VALUES('pilots',1);
COMMIT;
