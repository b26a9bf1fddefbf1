"""What boots inside a gang before its step runs, one module a framework."""
