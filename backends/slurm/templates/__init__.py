"""The texts of job scripts and of ``submit.sh``, for jinja2."""
