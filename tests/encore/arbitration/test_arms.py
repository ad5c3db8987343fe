"""Every arm there is, found as the pipeline finds it: a new file in the folder is tested by being there."""

from __future__ import annotations

import inspect
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore import arbitration
from encore.arbitration import Arm, Context, Split, arm, arm_names, concentration
from encore.errors import UserError

N = 21
HALVES = [name for name in arm_names() if arm(name).fixed_fraction is None]
BY_SCORE = ["prism_gini", "prism_kurtosis", "prism_cv", "inverse_gini", "inverse_kurtosis", "inverse_cv", "l2"]
BY_SCORE += ["size_normalised", "loss"]
AGREED = """base sft grpo gigpo random hpt hpt_online sft_then_rl prism_gini prism_kurtosis prism_cv inverse_gini
inverse_kurtosis inverse_cv l2 stratified_type stratified_length size_normalised loss random_2 random_3"""


def columns(n: int = N) -> dict[str, np.ndarray]:
    """All that an arm may ask for, at random but always the same; scores differ, other columns have ties."""
    random = np.random.default_rng(7)
    return {
        "norms": random.gamma(2.0, size=(n, 14)),
        "losses": random.gamma(2.0, size=n),
        "lengths": random.integers(5, 90, n),
        "task_types": random.choice(["pick", "look", "clean"], n),
        "pass_rates": random.integers(0, 3, n) / 8,
        "matrix_sizes": np.tile([4096, 1024, 1024, 4096, 8192, 8192, 8192], (n, 2)),
    }


def context(seed: int = 0, rl_fraction: float = 0.5, n: int = N) -> Context:
    return Context(n, seed, rl_fraction, columns(n))


def places(chosen, reordered) -> list[int]:
    """Where the examples `chosen` lie after the examples were put in the order `reordered`."""
    return sorted(int(np.flatnonzero(reordered == place)[0]) for place in chosen)


def test_the_arms_of_the_comparison_are_there():
    assert set(AGREED.split()) <= set(arm_names())


@pytest.mark.parametrize("name", arm_names())
def test_every_arm(name):
    found = arm(name)
    assert isinstance(found, Arm)
    assert found.name == name
    assert found.label
    assert found.algorithm in ("grpo", "gigpo", "hpt")
    assert not found.equal_steps
    reason = found.skip(context())
    if reason is not None:
        pytest.skip(f"{name} {reason}")
    halves = found.split(context())
    assert isinstance(halves, Split)
    for half in (halves.sft, halves.rl):
        assert all(type(place) is int and 0 <= place < N for place in half)
        assert half == sorted(set(half)), "places rise, each once"
    assert bool(halves.shared) == found.overlap, "an example is in both halves only where the arm says so"
    if halves.sft or halves.rl:
        assert set(halves.sft) | set(halves.rl) == set(range(N)), "every example is used"
    else:
        assert name == "base", "no arm but the base trains on nothing"


@pytest.mark.parametrize("name", arm_names())
@pytest.mark.parametrize("seed", [0, 3])
def test_the_same_seed_gives_the_same_halves(name, seed):
    ctx = context(seed)
    first = arm(name).split(ctx)
    assert first == arm(name).split(ctx) == arm(name).split(context(seed))


@pytest.mark.parametrize("name", arm_names())
def test_an_arm_reads_what_it_says_it_needs_and_nothing_else(name):
    found = arm(name)
    needed = Context(N, columns={column: columns()[column] for column in found.needs})
    assert found.skip(needed) is None
    assert found.split(needed) == found.split(context())


@pytest.mark.parametrize("name", arm_names())
def test_an_arm_refuses_in_one_line_what_it_lacks(name):
    found = arm(name)
    for absent in found.needs:
        ctx = Context(N, columns={column: values for column, values in columns().items() if column != absent})
        assert absent in (found.skip(ctx) or "")
        with pytest.raises(UserError, match=f"arm '{name}' needs {absent}") as refusal:
            found.split(ctx)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("percent", [10, 30, 50, 70, 90])
@pytest.mark.parametrize("n", [20, 21, 60, 107])
def test_the_fraction_for_rl_is_within_one_example(name, percent, n):
    """Of distinct scores; these arms' scores are, whatever the ties of the columns."""
    ctx = context(n=n)
    sent = len(arm(f"{name}_rl{percent}").split(ctx).rl)
    assert abs(sent - n * percent / 100) < 1
    ctx = context(n=n, rl_fraction=percent / 100)
    assert len(arm(name).split(ctx).rl) == sent, "the suffix is another way to say the parameter"


@pytest.mark.parametrize("name", BY_SCORE)
@given(st.permutations(range(N)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_examples_does_not_matter(name, order):
    order = np.array(order)
    shuffled = Context(N, columns={column: values[order] for column, values in columns().items()})
    halves, moved = arm(name).split(context()), arm(name).split(shuffled)
    assert moved.rl == places(halves.rl, order)
    assert moved.sft == places(halves.sft, order)


@pytest.mark.parametrize("name", ["random", "random_2", "random_3", "hpt", "stratified_type", "stratified_length"])
def test_arms_of_chance_differ_by_seed_and_not_in_size(name):
    halves = [arm(name).split(context(seed)) for seed in range(5)]
    assert len({tuple(half.sft) for half in halves}) == 5
    assert {len(half.sft) for half in halves} == {len(arm("prism_gini").split(context()).sft)} == {11}


def test_random_splits_differ_within_a_seed():
    assert len({tuple(arm(name).split(context()).sft) for name in ("random", "random_2", "random_3")}) == 3


def test_only_arms_of_chance_look_at_the_seed():
    for name in (*BY_SCORE, "base", "sft", "grpo", "gigpo", "hpt_online", "sft_then_rl"):
        assert arm(name).split(context(0)) == arm(name).split(context(1))


@pytest.mark.parametrize("metric", ["gini", "kurtosis", "cv"])
@pytest.mark.parametrize("n", [20, 21])
def test_the_inverse_is_the_complement_at_a_half(metric, n):
    halves, inverse = (arm(f"{kind}_{metric}").split(context(n=n)) for kind in ("prism", "inverse"))
    assert (inverse.sft, inverse.rl) == (halves.rl, halves.sft)
    scores = concentration(columns(n)["norms"], metric)
    assert scores[inverse.sft].min() > np.median(scores) >= scores[inverse.rl].max()
    assert len(inverse.sft) == n // 2, "the median of an odd number is imitated by PRISM, so it is explored here"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=25))
@settings(deadline=None)
def test_the_inverse_is_the_complement_whatever_the_ties(scores):
    from encore.arbitration.splitting import inverse, split

    halves, exchanged = split(scores), inverse(scores)
    assert (exchanged.sft, exchanged.rl) == (halves.rl, halves.sft)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40, unique=True), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]))
@settings(deadline=None)
def test_the_inverse_explores_the_lowest_scores(scores, fraction):
    from encore.arbitration.splitting import inverse

    found = inverse(scores, fraction)
    assert abs(len(found.rl) - fraction * len(scores)) < 1 + 1e-9
    if found.sft and found.rl:
        assert max(scores[place] for place in found.rl) < min(scores[place] for place in found.sft)


def test_hpt_explores_what_the_base_passes_most_and_breaks_ties_by_chance():
    """Pass rates of a weak base: three of twenty tasks were ever won. They are explored, and so are seven others."""
    rates = np.zeros(20)
    rates[[2, 11, 17]] = [0.125, 0.5, 0.125]
    drawn = [arm("hpt").split(Context(20, seed, columns={"pass_rates": rates})) for seed in range(8)]
    for halves in drawn:
        assert len(halves.rl) == len(halves.sft) == 10, "exactly half, however many ties there are"
        assert {2, 11, 17} <= set(halves.rl)
    assert len({tuple(halves.rl) for halves in drawn}) == 8
    assert arm("hpt").split(Context(4, columns={"pass_rates": [0.2, 0.9, 0.1, 0.3]})) == Split(sft=[0, 2], rl=[1, 3])
    with pytest.raises(UserError, match="score of example 1 is not finite"):
        arm("hpt").split(Context(2, columns={"pass_rates": [0.5, float("nan")]}))


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7])
def test_every_task_type_sends_its_share(fraction):
    ctx = context(rl_fraction=fraction, n=107)
    halves = arm("stratified_type").split(ctx)
    for kind in ("pick", "look", "clean"):
        members = np.flatnonzero(ctx.task_types == kind)
        assert abs(np.isin(members, halves.rl).sum() - fraction * len(members)) < 1


def test_every_tenth_of_the_lengths_sends_its_share():
    lengths = np.random.default_rng(1).permutation(200)
    halves = arm("stratified_length").split(Context(200, columns={"lengths": lengths}))
    tenths = np.bincount(lengths[halves.rl] // 20)
    assert tenths.tolist() == [10] * 10
    assert abs(lengths[halves.rl].mean() - lengths[halves.sft].mean()) < 5
    same = arm("stratified_length").split(Context(9, columns={"lengths": [7] * 9}))
    assert (len(same.sft), len(same.rl)) == (5, 4), "equal lengths are one stratum"


def test_directions():
    """Two examples that differ in one thing each: which of them is explored."""
    spread, concentrated, large = [1.0, 1.0, 1.1], [0.1, 0.1, 2.0], [9.0, 9.0, 9.5]
    norms = {"norms": [spread, concentrated]}
    assert arm("prism_gini").split(Context(2, columns=norms)).rl == [1]
    assert arm("inverse_gini").split(Context(2, columns=norms)).rl == [0]
    assert arm("l2").split(Context(2, columns={"norms": [large, concentrated]})).rl == [0], "large, not concentrated"
    assert arm("loss").split(Context(2, columns={"losses": [0.2, 1.5]})).rl == [1]


def test_the_size_of_a_matrix_drops_out_of_size_normalised():
    """The first example moves every entry alike, so its norms differ by the matrices' sizes alone."""
    sizes = np.array([[16.0, 4.0, 64.0]] * 2)
    norms = np.array([np.sqrt(sizes[0]), [4.0, 4.0, 4.0]])
    ctx = Context(2, columns={"norms": norms, "matrix_sizes": sizes})
    assert arm("prism_gini").split(ctx).rl == [0]
    assert arm("size_normalised").split(ctx).rl == [1]


def test_suffixes():
    found = arm("prism_cv_rl30_equal")
    assert (found.name, found.label) == ("prism_cv_rl30_equal", "PRISM CV, 30 % RL, equal steps")
    assert (found.fraction(0.5), found.equal_steps) == (0.3, True)
    assert arm("random_2_rl90").fraction(0.5) == 0.9
    assert arm("random_2_equal").equal_steps
    assert arm("prism_cv").fraction(0.4) == 0.4
    assert arm("random_3_rl50").split(context(rl_fraction=0.1)) == arm("random_3").split(context(rl_fraction=0.5))
    assert arm("l2_equal").split(context()) == arm("l2").split(context())


def test_iterations_follow_the_share_that_goes_to_rl():
    halves = Split(sft=list(range(7)), rl=[7, 8, 9])
    assert arm("prism_cv").iterations(40, halves, 10) == 12
    assert arm("prism_cv_equal").iterations(40, halves, 10) == 40
    assert arm("prism_cv").iterations(1, halves, 10) == 1, "an arm with tasks plays at least once"
    assert arm("grpo").iterations(40, Split(rl=list(range(10))), 10) == 40
    assert arm("sft").iterations(40, Split(sft=list(range(10))), 10) == 0


def test_fractions_of_arms_that_do_not_divide_are_theirs():
    wanted = {"base": 0, "sft": 0, "grpo": 1, "gigpo": 1, "hpt_online": 1, "sft_then_rl": 1}
    assert {name: arm(name).fraction(0.5) for name in wanted} == wanted
    assert arm("sft_then_rl").split(context()).shared == list(range(N))
    assert arm("gigpo").algorithm == "gigpo"
    assert arm("hpt_online").algorithm == "hpt"
    assert arm("hpt").algorithm == arm("grpo").algorithm == "grpo"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prsim", r"unknown arm 'prsim'.*prism_cv, prism_gini.*suffixes _rl10"),
        ("prism_low", "arm 'prism_low' is now called 'prism_gini'"),
        ("prism_high_rl30", "arm 'prism_high' is now called 'inverse_gini'"),
        ("prism_cv_rl40", "one of 10, 30, 50, 70, 90, not 40"),
        ("prism_cv_equal_rl30", "unknown arm"),
        ("sft_then_rl_rl30", "'sft_then_rl_rl30': sft_then_rl sends 100% of the examples to RL by definition"),
        ("grpo_equal", "take off its suffix"),
        ("base_rl10", "base sends 0% of the examples"),
        ("_equal", "unknown arm"),
        ("", "unknown arm"),
        ("registry", "unknown arm"),
    ],
)
def test_what_is_no_arm_is_refused_in_one_line(name, message):
    with pytest.raises(UserError, match=message) as refusal:
        arm(name)
    assert "\n" not in str(refusal.value)


def test_labels_differ():
    labels = [arm(name).label for name in arm_names()]
    labels += [arm(name + suffix).label for name in HALVES for suffix in ("_rl10", "_equal", "_rl10_equal")]
    assert len(labels) == len(set(labels))


class Smallest:
    label = "Smallest"

    def split(self, ctx: Context) -> Split:
        return Split(sft=list(range(ctx.n)), rl=[0] * (ctx.seed == 1))


@pytest.fixture
def smallest(monkeypatch):
    """An arm in a file of its own, as a user would add it, with no more than it must have."""
    module = types.ModuleType("encore.arbitration.arms.smallest")
    module.Arm = Smallest
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(arbitration.registry, "arm_names", lambda: ["smallest"])
    return arm("smallest")


def test_a_file_needs_a_label_and_a_split(smallest):
    assert (smallest.label, smallest.needs, smallest.algorithm) == ("Smallest", (), "grpo")
    assert (smallest.fraction(0.3), smallest.equal_steps, smallest.overlap) == (0.3, False, False)
    assert smallest.split(Context(3)) == Split(sft=[0, 1, 2])


def test_an_overlap_that_is_not_declared_is_refused(smallest):
    with pytest.raises(UserError, match=r"sends example 0 to SFT and to RL: set `overlap = True`"):
        smallest.split(Context(3, seed=1))


def test_an_unknown_algorithm_is_refused(smallest, monkeypatch):
    monkeypatch.setattr(Smallest, "algorithm", "ppo", raising=False)
    with pytest.raises(UserError, match="learns by 'ppo': choose from grpo, gigpo, hpt"):
        arm("smallest")


def test_an_arm_says_itself_why_it_is_skipped(smallest, monkeypatch):
    monkeypatch.setattr(Smallest, "skip", lambda self, ctx: "has no luck", raising=False)
    with pytest.raises(UserError, match="arm 'smallest' has no luck"):
        arm("smallest").split(Context(3))


def test_arm_files_stay_small():
    """A baseline is one small class: code lines without the docstring."""
    for name in arm_names():
        source = inspect.getsource(type(arm(name).plugin))
        assert len(source.splitlines()) <= 12, name


def test_columns_are_loaded_once_and_only_if_asked_for():
    loads = []
    ctx = Context(2, columns={"norms": lambda: loads.append(1) or np.ones((2, 3))})
    arm("sft").split(ctx)
    assert loads == []
    assert ctx.missing("norms") is None
    _ = ctx.norms, ctx.norms, ctx.with_fraction(0.3).norms
    assert loads == [1]
    with pytest.raises(UserError, match="have no losses; they have norms"):
        _ = ctx.losses
    with pytest.raises(UserError, match="3 rows for 2 examples"):
        _ = Context(2, columns={"lengths": [1, 2, 3]}).lengths
