"""The service, with models that fail as files in a folder say: FOLDER, then what `ai-workflow` takes."""

from __future__ import annotations

import sys
from pathlib import Path

from ai_workflow.cli.main import main
from ai_workflow.inference import model_worker

if __name__ == "__main__":
    worker = Path(__file__).with_name("faulty_worker.py")
    model_worker.COMMAND = (sys.executable, "-P", str(worker), sys.argv[1])
    main(sys.argv[2:])
