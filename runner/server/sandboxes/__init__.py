"""Where the content of sandboxes is kept: a folder of the WMS's by default, a bucket of an S3 server by configuration.

| module | what it is |
|---|---|
| contents | what a store of contents can do |
| folder | files in a folder, moved by our own presigned addresses |
| bucket | the bucket that is meant, and the credentials for it |
| s3 | objects in that bucket, moved by the server's presigned addresses |
"""
