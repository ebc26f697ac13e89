"""What solves a task: functions of a completion and its row, and how they are run."""
