"""`python -m ai_workflow`: the command line `ai-workflow`."""

from ai_workflow.cli.main import main

if __name__ == "__main__":
    main()
