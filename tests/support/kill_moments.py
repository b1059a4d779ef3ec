"""When to kill a process that a test has started: at moments drawn over as long as its work takes here and now.

    moments = KillMoments(random.Random(7), longest_s=2.0)
    while kills < KILLS:
        child = ...
        time.sleep(moments.next_s())
        child.kill()
        kills += moments.note(child.wait() < 0)

How long the work takes differs between machines, and from one minute to the next on a busy one. So a kill that came too
late shortens the time that the next moments are drawn over, and one that hit lengthens it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

SHORTER, LONGER = 0.8, 1.1
"""After a kill that came too late, and after one that hit. Where half of them hit, the time shrinks by an eighth a
pair: it settles where more than half do."""
AT_MOST = 10.0
"""How many times as long as it was believed to take: a machine that stands still for a while must not be believed."""


@dataclass
class KillMoments:
    """`longest_s` is about how long the work takes, in seconds: a guess, or what it took once.

    Moments lie in the part of it that is left after `from_part`, where what comes before is not to be hit.
    """

    draw: random.Random
    longest_s: float
    from_part: float = 0.0
    _believed_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._believed_s = self.longest_s

    def next_s(self) -> float:
        """How many seconds to wait before the next kill."""
        return self.draw.uniform(self.from_part, 1.0) * self.longest_s

    def note(self, hit: bool) -> bool:
        """Whether the last kill hit; it is returned."""
        self.longest_s = min(self.longest_s * (LONGER if hit else SHORTER), AT_MOST * self._believed_s)
        return hit
