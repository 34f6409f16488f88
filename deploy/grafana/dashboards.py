"""Writes the dashboards anew: `python3 dashboards.py [FOLDER]`. Python alone, without packages.

A panel that is empty while all is well says so with `empty`; every other one has to have data, which a test sees to.
"""

import json
import sys
from pathlib import Path

import api
import courier
import delivery
import dependencies
import gateway
import overview


def main(folder):
    for module in (overview, api, gateway, delivery, courier, dependencies):
        content = json.dumps(module.DASHBOARD, indent=1, ensure_ascii=False)
        (Path(folder) / f'{module.__name__}.json').write_text(content + '\n')


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
