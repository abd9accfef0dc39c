"""Three problems with worked steps: enough to see that everything works, without any download."""

from __future__ import annotations

from .schema import MathProblem, ReasoningStep


def create_sample_problems() -> list[MathProblem]:
    """Three problems, one each of algebra, number theory and geometry, every step with a claim to check."""
    return [
        _sample(
            "sample/algebra",
            "Algebra",
            "Level 2",
            r"The sum of two numbers is $15$ and their product is $56$. What is the larger of the two numbers?",
            [
                (r"Call the numbers $x$ and $15 - x$; their product is $56$.", "x*(15 - x) = 56"),
                (r"Bring everything to one side: $x^2 - 15x + 56 = 0$.", "x^2 - 15*x + 56 = 0"),
                (r"This factors into $(x - 7)(x - 8) = 0$.", "(x - 7)*(x - 8) = x^2 - 15*x + 56"),
                (r"So the numbers are $7$ and $8$, and the larger one is $8$.", "7 + 8 = 15"),
            ],
            "8",
        ),
        _sample(
            "sample/number_theory",
            "Number Theory",
            "Level 3",
            r"What is the remainder when $7^{100}$ is divided by $5$?",
            [
                (r"Modulo $5$ the base is $7 \equiv 2$.", "7 = 1*5 + 2"),
                (r"The powers of $2$ repeat every four: $2^4 = 16 \equiv 1 \pmod{5}$.", "2^4 = 3*5 + 1"),
                (r"Since $100 = 4 \cdot 25$, we have $7^{100} \equiv (2^4)^{25} \equiv 1 \pmod{5}$.", "100 = 4*25"),
            ],
            "1",
        ),
        _sample(
            "sample/geometry",
            "Geometry",
            "Level 2",
            r"A right triangle has legs of length $9$ and $12$. What is the radius of its inscribed circle?",
            [
                (r"By the theorem of Pythagoras the hypotenuse is $\sqrt{9^2 + 12^2} = 15$.", "9^2 + 12^2 = 15^2"),
                (r"In a right triangle the inradius is half of (leg $+$ leg $-$ hypotenuse).", ""),
                (r"So $r = \frac{9 + 12 - 15}{2} = 3$.", "(9 + 12 - 15)/2 = 3"),
            ],
            "3",
        ),
    ]


def _sample(id: str, subject: str, level: str, problem: str, steps: list[tuple[str, str]], answer: str) -> MathProblem:
    solution = "\n".join([*(text for text, _ in steps), rf"The answer is $\boxed{{{answer}}}$."])
    return MathProblem(
        id=id,
        problem=problem,
        solution=solution,
        answer=answer,
        subject=subject,
        level=level,
        source="sample",
        steps=tuple(ReasoningStep(text, claim) for text, claim in steps),
    )
