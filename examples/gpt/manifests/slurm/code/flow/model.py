"""A small GPT: letters in, the next letter out."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Attention to the letters before, then a layer of its own for each letter."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forward_net = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.query_key_value(self.norm_attention(x)).split(width, dim=2)
        query, key, value = (p.view(batch, length, self.heads, -1).transpose(1, 2) for p in parts)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.forward_net(self.norm_forward(x))


class GPT(nn.Module):
    """Predicts the next letter at every place of a text."""

    def __init__(self, letters: int, context: int = 64, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.context = context
        self.letter, self.place = nn.Embedding(letters, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        places = torch.arange(letters.shape[1], device=letters.device)
        return self.out(self.norm(self.blocks(self.letter(letters) + self.place(places))))

    @torch.no_grad()
    def write(self, start: torch.Tensor, count: int) -> torch.Tensor:
        """Go on with a text for so many letters."""
        text = start
        for _ in range(count):
            chances = functional.softmax(self(text[:, -self.context :])[:, -1] / 0.7, dim=-1)
            text = torch.cat([text, torch.multinomial(chances, 1)], dim=1)
        return text
