"""What runs inside a task, on any image with Python 3.9 or later. Standard library only."""
