"""What training requires of a pair, as functions that raise an AssertionError."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gandist.gan.adam import PlainAdam
from gandist.gan.networks.tape import is_piecewise_linear
from gandist.gan.networks.vae import ElboLoss
from gandist.gan.penalties import Way, images_and_terms, judge
from gandist.gan.players import CHANNELS_LAST, in_channels_last, lay_channels_last
from gandist.gan.scores import as_scores, of_sample
from gandist.testing.cases import BATCH, Case


def check_shapes(case: Case) -> None:
    """z (N, latents) -> images (N, C, H, W) -> scores (N, ...), or two moments (N, z_dim) each; all finite. Texts in
    shares, (N, V, L)."""
    G, D = case.build(moved=False)
    z, y, x = case.inputs()
    made = G(z, y)
    assert made.shape == x.shape, f"G makes {tuple(made.shape)} of {tuple(z.shape)}, not {tuple(x.shape)}"
    assert bool(made.isfinite().all()), "G makes numbers that are not finite"
    if case.pair.medium == "text":
        whole = bool((made >= 0).all()) and float((made.detach().sum(1) - 1).abs().max()) < 1e-5
        assert whole, "G makes texts whose symbols do not share each place"
    for found in as_scores(D(made, y)):
        assert found.shape[:1] == (BATCH,), f"D gives {tuple(found.shape)}, not ({BATCH}, ...)"
        moments = (BATCH, case.shape.z_dim)
        assert not case.pair.encodes or found.shape == moments, f"D gives {tuple(found.shape)}, not {moments}"
        assert bool(found.isfinite().all()), "D gives numbers that are not finite"


def check_nothing_random(case: Case) -> None:
    """The same inputs give the same results without random draws; D's buffers stay, except BatchNorm's statistics."""
    G, D = case.build()
    z, y, x = case.inputs()
    before, buffers = torch.random.get_rng_state(), {name: b.clone() for name, b in D.named_buffers()}
    for name, of in (("G", lambda: G(z, y)), ("D", lambda: case.results(D, x, y))):
        assert torch.equal(of(), of()), f"{name} gives other results for the same inputs"
    assert torch.equal(before, torch.random.get_rng_state()), "a network draws random numbers"
    batch = {name for name, m in D.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    for name, buffer in D.named_buffers():
        kept = torch.equal(buffer, buffers[name]) or name.rpartition(".")[0] in batch
        assert kept, f"D changes its buffer {name} in its forward pass"


def check_images_are_independent(case: Case) -> None:
    """In evaluation mode G makes, and D scores, each image independently of the rest of its batch."""
    G, D = (net.eval() for net in case.build(torch.float64))
    z, y, x = case.inputs(torch.float64)
    first = None if y is None else y[:2]
    torch.testing.assert_close(G(z, y)[:2], G(z[:2], first), msg=lambda m: f"G: an image depends on others: {m}")
    if not case.shape.minibatch_std:
        alone = case.results(D, x[:2], first)
        torch.testing.assert_close(
            case.results(D, x, y)[:2], alone, msg=lambda m: f"D: an image depends on others: {m}"
        )


def check_heeds_condition(case: Case) -> None:
    """Different conditions give different results for the same z, and for the same image if D sees y. (Texts in shares,
    as in training: their most likely symbols may be the same.)"""
    if not (case.shape.condition_dim or case.shape.y):
        return
    G, D = (net.train(case.pair.medium == "text") for net in case.build())
    z, y, x = case.inputs(n=3)
    for name, results in (
        ("G", G(z[:1].expand(3, -1), y).flatten(1)),
        *((("D", case.results(D, x[:1].expand_as(x), y)),) if getattr(D, "sees_y", True) else ()),
    ):
        apart = float(torch.pdist(results.detach()).min()) / float(results.detach().norm(dim=1).mean())
        assert apart > 1e-3, f"{name} does not heed its condition: results lie {apart:.1e} of their size apart"


def check_slopes(case: Case) -> None:
    """|grad_x D|^2 and its gradient in D's weights: all ways that D has, and finite differences, agree."""
    if not case.has_slopes():
        return
    for dtype, last in ((torch.float32, False), (torch.float32, True), (torch.float64, True)):
        _, D = case.build(dtype)
        _, y, x = case.inputs(dtype, n=4)
        if last:
            lay_channels_last(D)
            x = in_channels_last(x)
        u = case.numbers(D, x)
        scores, slopes = judge(D, x, y, "double", u)
        assert float(slopes.detach().sum()) > 0, "D is flat"
        of_double = _gradient(D, slopes.sum())
        tolerance = 1e-6 if dtype is torch.float32 else 1e-9
        # The mean of many scores is a sum that nearly cancels, and rounds as often as it has terms.
        tolerance *= 1 if all(each.dim() == 1 for each in scores) else 4
        ways: tuple[Way, ...] = ("jvp", "linear") if is_piecewise_linear(D) else ("jvp",)
        for way in ways:
            found, found_slopes = judge(D, x, y, way, u)
            told = f"in {dtype}, {'channels_last' if last else 'contiguous'}, {way} and double backward disagree"
            for ours, theirs, atol in ((of_sample(found), of_sample(scores), tolerance), (found_slopes, slopes, 0)):
                torch.testing.assert_close(
                    ours,
                    theirs,
                    rtol=2 * tolerance,
                    atol=atol,
                    msg=lambda m: f"{told}: {m}",  # noqa: B023
                )
            apart = float((_gradient(D, found_slopes.sum()) - of_double).norm() / of_double.norm())
            assert apart < tolerance, f"{told}: their gradients are {apart:.1e} apart"
    finite, along = _difference(D, x, (y,) if u is None else (y, u), of_double)
    assert abs(finite - along) < 1e-5 * abs(along), f"the gradient of |grad_x D|^2 is {along}, by differences {finite}"


def _gradient(net: nn.Module, value: Tensor) -> Tensor:
    weights = list(net.parameters())
    found = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True, retain_graph=True)
    return torch.cat([g.flatten() for g in found])


def _difference(D: nn.Module, x: Tensor, given: tuple[Tensor | None, ...], gradient: Tensor) -> tuple[float, float]:
    """The derivative of |grad_x D|^2 along a random direction of the weights: by central differences, by `gradient`."""
    generator, step, values = torch.Generator().manual_seed(2), 1e-8, []
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().square().mean().sqrt()
        for name, p in D.named_parameters()
    }
    for side in (step, -step):
        moved = {name: (p + side * direction[name]).detach() for name, p in D.named_parameters()}
        leaf = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(of_sample(as_scores(functional_call(D, moved, (leaf, *given)))).sum(), leaf)
        values.append(float(g.square().sum()))
    along = float(gradient @ torch.cat([v.flatten() for v in direction.values()]))
    return (values[0] - values[1]) / (2 * step), along


def check_channels_last(case: Case) -> None:
    """In channels_last both networks give the same numbers; no layer with weights gets or returns the other layout."""

    def check(layer: nn.Module, inputs: tuple[object, ...], out: object) -> None:
        taken, given = _is_last(inputs[0]), _is_last(out)
        weighs = any(True for _ in layer.parameters())
        assert taken or not weighs, f"{type(layer).__name__} takes features that are not channels_last"
        assert given or not taken, f"{type(layer).__name__} gives features that are not channels_last"

    z, y, x = case.inputs()
    plain, last = case.build(), case.build()
    for net in last:
        lay_channels_last(net)
        for name, layer in net.named_modules():
            if name and ".parametrizations" not in name:  # the network's own output may be a view
                layer.register_forward_hook(check)
    same, same_y = in_channels_last(x), None if y is None else in_channels_last(y)
    for name, expected, found in (
        ("G", plain[0](z, y), last[0](z, same_y)),
        ("D", case.results(plain[1], x, y), case.results(last[1], same, same_y)),
    ):
        atol = 3e-5 * float(expected.detach().abs().max().clamp(min=1))  # sums in another order: up to 1.3e-5 seen
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol, msg=lambda m: f"{name}: {m}")  # noqa: B023


def _is_last(features: object) -> bool:
    """Whether features have the channels_last layout; without height and width they have both."""
    if not isinstance(features, Tensor) or features.dim() not in CHANNELS_LAST or features.shape[2:].numel() == 1:
        return True
    return features.is_contiguous(memory_format=CHANNELS_LAST[features.dim()])


def check_autocast(case: Case) -> None:
    """Under bfloat16 autocast all feature maps are bfloat16, except of layers that have an attribute `exact`; and
    results, gradients and slopes stay close."""

    def check(layer: nn.Module, inputs: tuple[object, ...], out: object) -> None:
        taken = isinstance(inputs[0], Tensor) and inputs[0].dtype == torch.bfloat16
        exact = getattr(layer, "exact", False)
        if (
            isinstance(out, Tensor)
            and out.dim() in CHANNELS_LAST
            and (taken or any(True for _ in layer.parameters()))
            and not exact
        ):
            assert out.dtype == torch.bfloat16, f"under autocast {type(layer).__name__} gives {out.dtype}"

    z, y, x = case.inputs(n=4)
    exact, ours = case.build(), case.build()
    for net in ours:
        for name, layer in net.named_modules():
            if name and ".parametrizations" not in name:
                layer.register_forward_hook(check)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours[0](z, y), case.results(ours[1], x, y)
    torch.autograd.backward([result.float().square().mean() for result in found])
    with torch.no_grad():
        expected = exact[0](z, y), case.results(exact[1], x, y)
    for name, net, theirs, result in zip(("G", "D"), ours, expected, found, strict=True):
        apart = float(((result.float() - theirs).norm() / theirs.norm()).detach())
        assert apart < 0.03, f"{name} under autocast is {apart:.1%} off"
        for weight, p in net.named_parameters():
            assert p.grad is None or bool(p.grad.isfinite().all()), f"{name}.{weight}: a gradient that is not finite"
    if case.has_slopes():
        _, y, x = case.inputs(n=16)
        u = case.numbers(exact[1], x)
        with torch.autocast("cpu", torch.bfloat16):
            slopes = judge(exact[1], x, y, "jvp", u)[1]
        full = judge(exact[1], x, y, "jvp", u)[1]
        apart = float(((slopes.float() - full).norm() / full.norm()).detach())
        assert apart < 0.05, f"|grad_x D|^2 under autocast is {apart:.1%} off"


def check_every_parameter_learns(case: Case) -> None:
    """After three training steps each parameter has a gradient that is neither zero nor rounding noise."""
    G, D = case.build(torch.float64, moved=False)
    z, y, x = case.inputs(torch.float64, n=4)
    weights = torch.randn(4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    trained = [p for net in (G, D) for p in net.parameters() if p.requires_grad]
    optimizer = PlainAdam(trained, 1e-3, betas=(0.0, 0.99))
    for _ in range(3):
        optimizer.zero_grad()
        if case.pair.encodes:
            loss = ElboLoss(G, D)(x, y, z, 1.0)[0]
        else:
            made, terms = images_and_terms(G, z, y)
            of_fake, of_real = (of_sample(as_scores(D(each, y))) for each in (made, x))
            loss = sum(terms.values(), of_fake @ weights - of_real @ weights.flip(0))
        torch.autograd.backward(loss)
        optimizer.step()
    for name, net in (("G", G), ("D", D)):
        for weight, p in net.named_parameters():
            if p.requires_grad:
                assert p.grad is not None, f"{name}.{weight} has no gradient"
                largest = float(p.grad.abs().max())
                assert largest > 1e-12, f"{name}.{weight} does not learn: its largest gradient is {largest:.1e}"


def check_export(case: Case) -> None:
    """`torch.export` accepts G in evaluation mode, and the exported program makes the same images."""
    G = case.build()[0].eval()
    z, y, _ = case.inputs()
    arguments = (z,) if y is None else (z, y)
    with torch.no_grad():
        expected = G(*arguments)  # first: makes what networks keep from call to call, such as windows, of real numbers
        exported = torch.export.export(G, arguments).module()
        torch.testing.assert_close(exported(*arguments), expected, rtol=1e-5, atol=1e-5)


def check_other_sizes(case: Case) -> None:
    """Conditioned on samples, G makes samples of two other sizes, each `factor` times as large as y."""
    if not case.shape.y:
        return
    G, factor = case.build()[0].eval(), case.sample[-1] // case.shape.y[-1]
    for times in (3, 5):
        unit = case.pair.multiple(case.shape)
        z, y = case.larger(-(-16 * times // (3 * unit)))
        with torch.no_grad():
            made = G(z, y)
        sides = tuple(factor * side for side in y.shape[2:])
        assert made.shape[2:] == sides, f"G makes {tuple(made.shape)} of {tuple(y.shape)}"
        assert bool(made.isfinite().all()), f"G makes numbers that are not finite of {tuple(y.shape)}"


def check_known_pixels(case: Case) -> None:
    """G keeps what is known, outside of the holes, to the bit; under autocast too."""
    if not case.shape.masked:
        return
    G = case.build()[0]
    z, y, _ = case.inputs()
    assert y is not None
    hole = y[:, -1:].expand_as(y[:, :-1]) > 0
    for enabled in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            made = G(z, y)
        assert torch.equal(made[~hole], y[:, :-1][~hole]), "G changes what is known"
        assert not torch.equal(made[hole].to(y.dtype), y[:, :-1][hole]), "G fills in nothing"
