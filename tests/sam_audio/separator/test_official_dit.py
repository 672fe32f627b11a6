"""The flow network and its solvers: the published numbers, every option of the config, orders of convergence."""

from __future__ import annotations

import json
import math

import numpy as np
import parity
import pytest
import tiny_official
import torch
from torch.nn import functional as F

from peav.official.parts import unset
from sam_audio.errors import ModelError, UserError
from sam_audio.separator.official.config import SAMAudioConfig, read_config
from sam_audio.separator.official.dit import FlowTransformer, ordinary_heads, rotate, rotations, sinusoid
from sam_audio.separator.official.flow import FlowNetwork
from sam_audio.separator.official.model import SAMAudio
from sam_audio.separator.official.ode import METHODS, Solver

DIT, STAGES = "sam-audio-tiny/dit", "sam-audio-tiny/dit_intermediates"


@pytest.fixture(scope="module")
def published() -> SAMAudio:
    return SAMAudio.from_pretrained(parity.parity_dir() / "sam-audio-tiny", cache=False)


def stored(name: str) -> torch.Tensor:
    return torch.from_numpy(parity.reference(DIT)[name])


def evaluate(model: FlowNetwork, **changes) -> torch.Tensor:
    inputs = {
        "noisy_audio": stored("noise"),
        "audio_features": stored("audio_features"),
        "text_features": stored("text_features"),
        "time": stored("t"),
        "masked_video_features": stored("masked_video_features_zero"),
        "text_mask": stored("text_mask"),
        "anchor_ids": stored("anchor_ids_none"),
        "anchor_alignment": stored("anchor_alignment_none"),
        "audio_pad_mask": stored("audio_pad_mask"),
    }
    with torch.inference_mode():
        return model(**{**inputs, **changes})


class TestPublishedNumbers:
    @pytest.mark.parametrize(
        "name",
        [
            "out_no_anchors", "out_full", "out_anchors_none", "out_video", "out_video_none", "out_no_text",
            "out_nomask", "out_t0", "out_t1", "out_t_mixed",
        ],
    )  # fmt: skip
    def test_one_evaluation(self, published, name):
        changes = {
            "out_no_anchors": {},
            "out_full": {"anchor_ids": stored("anchor_ids"), "anchor_alignment": stored("anchor_alignment")},
            "out_anchors_none": {"anchor_ids": None, "anchor_alignment": None},
            "out_video": {"masked_video_features": stored("masked_video_features")},
            "out_video_none": {"masked_video_features": None},
            "out_no_text": {"text_features": None, "text_mask": None},
            "out_nomask": {"audio_pad_mask": None},
            "out_t0": {"time": torch.zeros(2)},
            "out_t1": {"time": torch.ones(2)},
            "out_t_mixed": {"time": torch.tensor([0.1, 0.9])},
        }[name]
        parity.check(DIT, name, evaluate(published, **changes))

    @torch.inference_mode()
    def test_stages(self, published):
        seen: dict[str, torch.Tensor] = {}

        def keep(name):
            return lambda module, inputs, output: seen.setdefault(name, output)

        body = published.transformer
        block = body.layers[0]
        hooks = [
            module.register_forward_hook(keep(name))
            for name, module in {
                "memory_proj": published.memory_proj,
                "x_embedder": body.x_embedder,
                "t_embedder": body.t_embedder,
                "t_block": body.t_block,
                "y_embedder": body.y_embedder,
                "layer0_attention": block.attention.wo,
                "layer0_cross_attention": block.cross_attention.wo,
                "layer0_feed_forward": block.feed_forward,
                "layer0": body.layers[0],
                "layer1": body.layers[1],
                "layer2": body.layers[2],
                "norm": body.norm,
            }.items()
        ]
        before = body.x_embedder.register_forward_pre_hook(
            lambda module, inputs: seen.update(aligned=inputs[0].transpose(1, 2))
        )
        evaluate(published, anchor_ids=stored("anchor_ids"), anchor_alignment=stored("anchor_alignment"))
        for hook in [*hooks, before]:
            hook.remove()
        seen["timestep_emb"] = sinusoid(stored("t"), published.config.transformer.dim)
        assert set(seen) == set(parity.reference(STAGES))
        for name, mine in seen.items():
            parity.check(STAGES, name, mine)

    def test_official_sizes(self):
        for path in (parity.parity_dir() / "keys").glob("sam-audio-[bsl]*.json"):
            known = json.loads(path.read_text())
            with unset():
                network = FlowNetwork(SAMAudioConfig.of(known["config"]))
            elsewhere = "audio_codec.", "vision_encoder."
            wanted = {n: tuple(s) for n, s in known["shapes"].items() if not n.startswith(elsewhere)}
            assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == wanted


def network(seed: int = 0, **transformer) -> FlowNetwork:
    config = SAMAudioConfig.of(tiny_official.values(**transformer))
    torch.manual_seed(seed)
    network = FlowNetwork(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.randn_like(parameter) / max(parameter.shape[-1], 4) ** 0.5)
    return network


def inputs(rows: int = 2, frames: int = 9) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return {
        "noisy_audio": torch.randn(rows, frames, 16, generator=g),
        "audio_features": torch.randn(rows, frames, 16, generator=g),
        "text_features": torch.randn(rows, 4, tiny_official.TEXT_DIM, generator=g),
        "time": torch.full((rows,), 0.4),
    }


class TestNetwork:
    def test_reordered_rows_are_the_published_heads(self):
        w, x, heads = torch.randn(12, 12), torch.randn(5, 12), 3
        published = (x @ w.T).unflatten(-1, (4, heads)).transpose(-1, -2)  # (d, head) is channel d * H + head
        ordinary = F.linear(x, ordinary_heads("layers.0.attention.wq.weight", w, heads)).unflatten(
            -1, (heads, 4)
        )
        torch.testing.assert_close(ordinary, published)
        assert ordinary_heads("layers.0.attention.wo.weight", w, heads) is w
        bias = torch.arange(12)
        assert ordinary_heads("attention.wv.bias", bias, heads).tolist()[:4] == [0, 3, 6, 9]

    def test_rotary_positions_are_relative_and_adjacent(self):
        q, k = torch.randn(2, 1, 1, 1, 8)
        turns = rotations(30, 8, 20000.0, q.device)
        scores = [(rotate(q, turns[i : i + 1]) * rotate(k, turns[i + 5 : i + 6])).sum() for i in (0, 7, 24)]
        torch.testing.assert_close(scores[0].expand(3), torch.stack(scores), atol=1e-4, rtol=0)
        turned = rotate(torch.eye(8)[None, None, :1], turns[1:2])[0, 0, 0]
        torch.testing.assert_close(turned[:2], torch.tensor([math.cos(1), math.sin(1)]))
        assert not turned[2:].any()

    def test_sinusoid(self):
        s = sinusoid(torch.tensor([0.25]), 6)[0]
        angles = [0.25 * 10000 ** (-i / 3) for i in range(3)]
        expected = [*map(math.cos, angles), *map(math.sin, angles)]
        torch.testing.assert_close(s, torch.tensor(expected))
        assert sinusoid(torch.tensor([0.25]), 7)[0, -1] == 0

    @pytest.mark.parametrize("kind", ["relu", "gelu", "approx_gelu", "srelu", "silu"])
    def test_other_activations_have_no_third_projection(self, kind):
        plain = network(non_linearity=kind, timestep_non_linearity=kind, context_non_linearity=kind)
        assert not [name for name in plain.state_dict() if name.endswith("w3.weight")]
        assert plain.transformer.config.ffn_dim == 128
        assert plain(**inputs()).isfinite().all()

    def test_other_options(self):
        free = network(use_rope=False, qk_norm=False, fc_bias=True, t_block_bias=False, context_norm=True)
        names = set(free.state_dict())
        assert "transformer.layers.0.attention.wq.bias" in names
        assert "transformer.y_embedder.norm.weight" in names
        assert not {n for n in names if "q_norm" in n or n == "transformer.t_block.bias"}
        assert free(**inputs()).shape == (2, 9, 16)

    def test_without_positions_order_matters_only_to_the_convolutions(self):
        free = network(use_rope=False)
        h = torch.randn(1, 6, 32)
        block = free.transformer.layers[0]
        flipped = block.self_attention(h.flip(1), None, None).flip(1)
        torch.testing.assert_close(flipped, block.self_attention(h, None, None))

    def test_one_time_for_all_is_a_time_for_each(self):
        net, given = network(), inputs()
        c = net.condition(given["audio_features"], given["text_features"])
        instant = net.transformer.at(given["time"][:1], c.memory, c.memory_valid).of(c.texts)
        once = net.transformer(net.project_state(given["noisy_audio"]) + c.base, instant)
        torch.testing.assert_close(once, net(**given))

    def test_rows_share_texts(self):
        net, given = network(), inputs(rows=1)
        many = {name: torch.cat([value, value]) for name, value in given.items() if name != "text_features"}
        c = net.condition(many["audio_features"], given["text_features"], texts=torch.tensor([0, 0]))
        instant = net.transformer.at(given["time"], c.memory).of(c.texts)
        both = net.transformer(net.project_state(many["noisy_audio"]) + c.base, instant)
        torch.testing.assert_close(both, net(**given).expand(2, -1, -1))

    def test_padding_is_not_attended_to(self):
        net, given = network(), inputs(rows=1)
        block = net.transformer.layers[0]
        h = torch.randn(1, 9, 32)
        changed = h.clone()
        changed[:, 6:] = 7
        valid = (torch.arange(9) < 6)[None, None, None]
        a, b = (block.self_attention(x, None, valid)[:, :6] for x in (h, changed))
        torch.testing.assert_close(a, b)
        tokens = given["text_features"].repeat(1, 2, 1)
        mask = torch.arange(8)[None] < 4
        torch.testing.assert_close(net(**{**given, "text_features": tokens, "text_mask": mask}), net(**given))

    def test_bfloat16_body_stays_near(self):
        net, given = network(), inputs()
        exact = net(**given)
        net.transformer.cast_body(torch.bfloat16)
        assert net.transformer.layers[0].attention.wq.weight.dtype == torch.bfloat16
        assert net.transformer.norm.weight.dtype == net.proj.weight.dtype == torch.float32
        rough = net(**given)
        assert rough.dtype == torch.float32
        assert 0 < (rough - exact).std() < 0.05 * exact.std()

    def test_without_text_or_video(self):
        net, given = network(), inputs()
        zeros = torch.zeros(2, 40, 9)
        torch.testing.assert_close(
            net.align_masked_video(zeros), net.align_masked_video.without_video().expand(2, 9, -1)
        )
        assert not torch.equal(net(**given), net(**given, masked_video_features=zeros))
        assert net(**{**given, "text_features": None}).isfinite().all()


class TestConfig:
    def test_defaults(self):
        config = SAMAudioConfig.of({})
        assert config == SAMAudioConfig()
        assert config.transformer.rope_theta == 20000
        assert config.span_predictor == "pe-a-frame-large"
        assert SAMAudioConfig.of({"span_predictor": None}).span_predictor is None

    @pytest.mark.parametrize(("dim", "hidden"), [(1536, 4096), (2048, 5504), (2816, 7552)])
    def test_hidden_sizes(self, dim, hidden):
        config = SAMAudioConfig.of({"transformer": {"dim": dim, "n_heads": dim // 128, "context_dim": dim}})
        assert config.transformer.ffn_dim == hidden

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"dim": 30}, "dim"),
            ({"n_heads": 0}, "n_heads"),
            ({"n_layers": "2"}, "n_layers"),
            ({"context_dim": 16}, "context_dim"),
            ({"out_channels": 8}, "out_channels"),
            ({"non_linearity": "tanh"}, "non_linearity"),
            ({"qk_norm": 1}, "qk_norm"),
        ],
    )
    def test_impossible_values_are_named(self, change, named):
        with pytest.raises(ModelError, match=named):
            SAMAudioConfig.of(tiny_official.values(**change))

    @pytest.mark.parametrize(
        "content", ["", "[]", '{"transformer": 3}', '{"audio_codec": {"latent_dim": -1}}']
    )
    def test_bad_files(self, tmp_path, content):
        path = tmp_path / "config.json"
        with pytest.raises(ModelError, match="missing"):
            read_config(path)
        path.write_text(content)
        with pytest.raises(ModelError, match=r"config.json"):
            read_config(path)


class TestSolver:
    @pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
    def test_order_of_convergence(self, method, order):
        def velocity(t, y):
            return torch.sin(y + 2 * t)

        start = torch.ones(1, dtype=torch.float64)
        exact = Solver("rk4", 1 / 512).integrate(velocity, start)
        errors = [abs(float(Solver(method, 1 / n).integrate(velocity, start) - exact)) for n in (8, 16)]
        assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)

    @pytest.mark.parametrize("method", sorted(METHODS))
    @pytest.mark.parametrize("step", [0.0625, 0.3, 1 / 3, 0.1, 0.7, 2.0])
    def test_agrees_with_torchdiffeq(self, method, step):
        odeint = pytest.importorskip("torchdiffeq").odeint

        def velocity(t, y):
            return torch.sin(3 * y) + float(t)

        start = torch.linspace(-1, 1, 7)
        theirs = odeint(velocity, start, torch.tensor([0.0, 1.0]), method=method, options={"step_size": step})
        mine = Solver(method, step).integrate(velocity, start)
        torch.testing.assert_close(mine, theirs[-1], atol=2e-6, rtol=0)

    def test_other_methods_run_in_torchdiffeq(self):
        pytest.importorskip("torchdiffeq")
        start = torch.ones(1)
        for options in ({"method": "dopri5"}, {"method": "heun3", "options": {"step_size": 0.01}}):
            end = Solver.of(options).integrate(lambda t, y: y, start)
            assert float(end) == pytest.approx(math.e, rel=1e-3)

    def test_upstream_options(self):
        assert Solver.of(None) == Solver("midpoint", 0.0625)
        given = {"method": "euler", "options": {"step_size": 0.25}, "rtol": 1e-3}
        assert Solver.of(given) == Solver("euler", 0.25)
        assert Solver("euler", 0.25).grid() == [0, 0.25, 0.5, 0.75, 1]
        assert np.allclose(Solver("euler", 0.3).grid(), [0, 0.3, 0.6, 0.9, 1])

    @pytest.mark.parametrize(
        "options",
        [
            {"method": "no-such"},
            {"options": {"step_size": 0}},
            {"options": {"step_size": "x"}},
            {"options": {"step_size": math.nan}},
            {"options": {"colour": 1}},
        ],
    )
    def test_impossible_options(self, options):
        with pytest.raises(UserError):
            Solver.of(options)

    def test_progress_can_stop_it(self):
        done = []

        def progress(step, steps):
            done.append((step, steps))
            if step == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Solver("euler", 0.25).integrate(lambda t, y: y, torch.ones(1), progress)
        assert done == [(1, 4), (2, 4)]


def test_the_transformer_alone_needs_no_text():
    config = SAMAudioConfig.of(tiny_official.values()).transformer
    body = FlowTransformer(config)
    assert body(torch.randn(2, 5, 32), body.at(torch.tensor([0.5])).of(torch.zeros(2, dtype=int))).shape == (
        2,
        5,
        16,
    )
