"""Attack a whole pipeline: craft poisons, retrain it on them, and see."""

from sklgm.red_teaming._red_team import red_team
from sklgm.red_teaming._result import RedTeamResult

__all__ = ["RedTeamResult", "red_team"]
