"""One vehicle on one road: where it is, how fast it goes, whether it rests.

Times are seconds of the caller's clock; chance is a seeded `random.Random`.
"""

import random
from dataclasses import dataclass, field

from northwatch.sim.roads import ROADS, Place, Road

ACCELERATION_KMH_S = 4.0
"""A loaded truck from 0 to 80 km/h in 20 seconds."""
USUAL_SHARE = (0.62, 0.93)
"""Drivers keep to this share of the limit."""
HURRY_SHARE = 1.22
"""… and when they are late, to this."""
OVERSPEED_TOLERANCE = 1.05
"""Terminals raise the overspeed bit above the limit and some tolerance."""


@dataclass
class Vehicle:
    """`drive` moves it; `rest_until` and `hurry_until` are what a story tells it to do."""

    road: Road
    km: float
    direction: int
    chance: random.Random = field(repr=False)
    mileage_km: float = 0.0
    speed_kmh: float = 0.0
    rest_until: float = 0.0
    hurry_until: float = 0.0
    _wish_kmh: float = 60.0

    @classmethod
    def somewhere(cls, number: int, chance: random.Random) -> "Vehicle":
        """Put vehicle `number` of a fleet on a road; neighbours in number are on different roads."""
        road = ROADS[number % len(ROADS)]
        vehicle = cls(
            road=road,
            km=chance.uniform(0.02, 0.98) * road.length_km,
            direction=chance.choice((1, -1)),
            chance=chance,
            mileage_km=round(chance.uniform(8_000, 320_000), 1),
        )
        vehicle._wish_kmh = chance.uniform(*USUAL_SHARE) * road.limit_kmh
        vehicle.speed_kmh = vehicle._wish_kmh
        return vehicle

    @property
    def place(self) -> Place:
        return self.road.place(self.km, self.direction)

    @property
    def is_speeding(self) -> bool:
        return self.speed_kmh > self.road.limit_kmh * OVERSPEED_TOLERANCE

    def rests(self, now: float) -> bool:
        """The ignition is off."""
        return now < self.rest_until and self.speed_kmh == 0

    def drive(self, now: float, seconds: float) -> None:
        """Move on by `seconds`, ending at `now`."""
        target = self._target_kmh(now)
        step = ACCELERATION_KMH_S * seconds
        before = self.speed_kmh
        self.speed_kmh += min(max(target - self.speed_kmh, -2 * step), step)
        driven_km = (before + self.speed_kmh) / 2 * seconds / 3600
        self.mileage_km += driven_km
        self.km += self.direction * driven_km
        if not 0 < self.km < self.road.length_km:
            self.km = min(max(self.km, 0.0), self.road.length_km)
            self.direction = -self.direction

    def _target_kmh(self, now: float) -> float:
        if now < self.rest_until:
            return 0.0
        if now < self.hurry_until:
            return HURRY_SHARE * self.road.limit_kmh
        low, high = (share * self.road.limit_kmh for share in USUAL_SHARE)
        self._wish_kmh = min(max(self._wish_kmh + self.chance.gauss(0, 1.5), low), high)
        return self._wish_kmh
