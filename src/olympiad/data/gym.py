"""Problems of the library reasoning-gym (https://github.com/open-thought/reasoning-gym) under the names "gym/NAME".

Its data sets state a problem and an answer, without steps that could be checked as those of our own families are. So
the answers of each set on mathematics were compared with another computation: half of the sets are left out.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from .generators.family import LEVELS, GeneratorError
from .rows import DataError
from .schema import MathProblem

PREFIX = "gym/"
CATEGORIES = ("algebra", "arithmetic", "geometry", "probability")

_RUNS_IT = "its verifier runs the answer as Python (sympy.parse_expr)"
# Found with version 0.1.19.
LEFT_OUT = {
    "intermediate_integration": _RUNS_IT,
    "polynomial_multiplication": f"{_RUNS_IT}; slow",
    "simple_integration": _RUNS_IT,
    "coin_flip": "its verifier takes 0.51 for 0.5, and hangs on 1e999999999",
    "polynomial_equations": "real roots are missing from some answers (degree 4)",
    "decimal_arithmetic": "rounds in between: a fifth of the answers have a wrong last digit",
    "decimal_chain_sum": "drops decimals: four answers in ten are wrong at level 4",
    "simple_geometry": 'the "convex" polygons have angles of 500 degrees',
    "power_function": "-3^-2 is meant as (-3)^-2, and answers are not rounded as the question asks",
    "number_format": "answers such as 255445761.04299998, which is no candidate of the question",
    "calendar_arithmetic": "asks for a weekday in March from that of January 1, without saying whether it is a leap year",
    "time_intervals": "depends on the date of today, and loses milliseconds",
    "gsm_symbolic": "rounds halves of 7 down to 3; its verifier takes -13 for 13",
    "leg_counting": "asks how many legs a sea slug has, which the question does not tell",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "basic_arithmetic": {"operators": ["+", "-", "*"]},  # its "/" rounds down, without saying so
    "advanced_geometry": {"task_types": ["orthocenter", "incircle_radius"]},  # angles are not rounded as the question asks
}


def _library() -> Any:
    try:
        import reasoning_gym.factory
    except ModuleNotFoundError as error:
        raise DataError("families that start with gym/ need reasoning-gym: pip install 'olympiad[gym]'") from error
    return reasoning_gym.factory


def gym_families() -> list[str]:
    """The names of the library's families, sorted; DataError where it is not installed."""
    library = _library()
    category = {name: entry[0].__module__.split(".")[1] for name, entry in library.DATASETS.items()}
    names = {name for name in category if category[name] in CATEGORIES and library.has_curriculum(name)}
    return sorted(PREFIX + name for name in names - LEFT_OUT.keys())


@lru_cache(maxsize=64)
def _dataset(name: str, level: int, seed: int) -> tuple[Any, int]:
    """A data set object, which makes its entries as they are asked for; and the library's level, from 1."""
    library = _library()
    # The library adds seed and index, so that seeds 0 and 1 would give nearly the same problems: ours are far apart.
    digest = hashlib.sha256(f"{name}/{level}/{seed}".encode()).digest()
    curriculum = library.create_curriculum(name)
    curriculum.set_global_level(level - 1)
    settings = {"seed": int.from_bytes(digest[:4], "little"), **SETTINGS.get(name, {})}
    make, _ = library.DATASETS[name]
    return make(config=curriculum.generate_configuration(settings)), curriculum.get_max_level() + 1


def generate_gym(family: str, level: int, seed: int, index: int) -> MathProblem:
    """Problem ``index`` of a family, the same for the same version of the library; many have four levels, see metadata.

    Raises:
        GeneratorError: there is no such family or level.
        DataError: the library is not installed.
    """
    name = family.removeprefix(PREFIX)
    if family not in gym_families():
        raise GeneratorError(f"there is no family {family!r}: {LEFT_OUT.get(name, ', '.join(gym_families()))}")
    if level not in LEVELS:
        raise GeneratorError(f"level is {level!r}, expected 1 to 5")
    dataset, library_level = _dataset(name, level, seed)
    entry = dataset[index]
    return MathProblem(
        id=f"{family}/{level}/{seed}/{index}",
        problem=entry["question"].strip(),
        answer=entry["answer"],
        subject=dataset.category,
        level=f"Level {level}",
        source="reasoning-gym",
        metadata={"family": family, "seed": seed, "index": index, "library_level": library_level},
    )


def score_gym(problem: MathProblem, answer: str) -> float:
    """What the library's own verifier gives for an answer to a problem of :func:`generate_gym`: 1.0 if it is right."""
    family, level, seed, index = problem.id.rsplit("/", 3)
    if "nan" in answer.casefold():  # every distance from it counts as none
        return 0.0
    dataset, _ = _dataset(family.removeprefix(PREFIX), int(level), int(seed))
    try:
        return float(dataset.score_answer(answer, dataset[int(index)]))
    except ValueError:  # an answer that the verifier can't read
        return 0.0
