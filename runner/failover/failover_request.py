"""FailoverRequest: the last module of a workflow. It leaves one request for all that is pending."""

from runner.failover.module_base import GracefulTermination, ModuleBase
from runner.failover.reports import PROCESSED, UNUSED
from runner.job.requests import SET_FILE_STATUS


class FailoverRequest(ModuleBase):
    """Reports on the input files, says that the job has finished, and writes the request file.

    Unlike DIRAC's it writes the request of a failed workflow too: a payload cannot call the WMS, so
    the request is the only way for its file report.
    """

    def _initialize(self) -> None:
        """There is nothing to report on outside a WMS.

        Raises:
            GracefulTermination: then.
        """
        if not self.is_wms_job:
            raise GracefulTermination("no job of a WMS: nothing to report")

    def _execute(self) -> None:
        """Input files are Processed, or Unused (by force) when the workflow has failed; what was said before stands."""
        earlier = [each for each in self.earlier_operations() if each.type == SET_FILE_STATUS]
        said = {status["LFN"] for each in earlier for status in each.arguments["Statuses"]} | set(
            self.file_report.files
        )
        status = PROCESSED if self.all_is_well else UNUSED
        for lfn in self.input_data_list:
            if lfn not in said:
                self.file_report.force |= not self.all_is_well
                self.file_report.set_file_status(self.step.production_id, lfn, status)
        if self.all_is_well:
            self.set_application_status("Job Finished Successfully")
        self.generate_failover_file()

    def _finalize(self) -> None:
        """Say how the workflow went.

        Raises:
            RuntimeError: it has failed. GracefulTermination: it has not.
        """
        if not self.all_is_well:
            raise RuntimeError("Workflow failed, FailoverRequest module completed")
        raise GracefulTermination("Workflow successful, end of FailoverRequest module execution.")
