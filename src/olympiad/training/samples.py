"""What the model writes, now and then during training."""

from __future__ import annotations

import torch

from olympiad.data import TokenDataset
from olympiad.model import MathTransformerDecoder

NUM_SAMPLES, NEW_TOKENS = 3, 96


def sample_solutions(model: MathTransformerDecoder, dataset: TokenDataset, device: torch.device) -> list[dict[str, str]]:
    """Greedy continuations of the first problems of a validation set: ``problem`` and ``text`` of each."""
    tokenizer, samples = dataset.tokenizer, []
    model.eval()
    for row in range(min(NUM_SAMPLES, len(dataset))):
        rendered = dataset[row]
        start = rendered.loss_mask.index(1) if 1 in rendered.loss_mask else len(rendered.ids)
        prompt = rendered.ids[:start]
        room = min(NEW_TOKENS, model.config.context_limit - start)
        if not prompt or room < 1:
            continue
        # A compiled layer would be compiled again for each length of the cache.
        with torch.compiler.set_stance("force_eager"):
            ids = model.generate(torch.tensor([prompt], device=device), max_new_tokens=room, stop_tokens=(tokenizer.end_id,))
        samples.append(
            {
                "problem": tokenizer.decode(prompt, skip_special_tokens=True),
                "text": tokenizer.decode(ids[0, start:].tolist(), skip_special_tokens=True),
            }
        )
    return samples
