"""`python -m tests.command_line`: the command line `ai-workflow`."""

from __future__ import annotations

from ai_workflow.cli.main import main

if __name__ == "__main__":
    main()
