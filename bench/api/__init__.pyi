"""What the door offers; see ``__init__.py``."""

from .decisions import gate as gate
from .decisions import recommend as recommend
from .results import compare as compare
from .results import load as load
from .results import report as report
from .results import reproduce as reproduce
from .results import settings as settings
from .results import show as show
from .results import submit as submit
from .results import sync as sync
from .results import verify as verify
from .results import why as why
from .runs import Forecast as Forecast
from .runs import evaluate as evaluate
from .runs import plan as plan
from .runs import run as run
