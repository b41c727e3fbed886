"""The training side's density is the serving side's, and arch's, in single precision; its derivatives are finite and right."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arch.univariate import SkewStudent
from hypothesis import given
from hypothesis import strategies as st

from crypy.distributions.kernels import skew_t_logpdf
from crypy.distributions.training_twin import log_density

VALUES = st.floats(-40.0, 40.0, width=32)
SCALES = st.floats(-12.0, 3.0, width=32)
SKEWS = st.floats(-0.875, 0.875, width=32)
GRADIENT = jax.jit(jax.grad(log_density, argnums=(0, 1, 2, 3)))
TAILS = st.floats(2.125, 500.0, width=32)


@given(z=VALUES, log_scale=SCALES, skew=SKEWS, tail=TAILS)
def test_it_is_the_serving_twin(z: float, log_scale: float, skew: float, tail: float) -> None:
    scale = float(np.exp(log_scale))
    ours = float(log_density(*(jnp.float32(part) for part in (z * scale, log_scale, skew, tail))))
    assert ours == pytest.approx(skew_t_logpdf(float(np.float32(z * scale)), scale, skew, tail), rel=2e-5, abs=2e-5)


def test_it_is_archs_density() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_t(4.0, 1_000)
    reference = SkewStudent()
    for skew, tail in ((0.0, 5.0), (-0.3, 3.0), (0.4, 12.0), (0.1, 200.0)):
        wanted = reference.loglikelihood(np.array([tail, skew]), z, np.ones(len(z)), individual=True)
        found = log_density(jnp.asarray(z, jnp.float32), jnp.float32(0.0), jnp.float32(skew), jnp.float32(tail))
        np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=2e-5)


@given(z=VALUES, skew=SKEWS, tail=TAILS)
def test_its_gradient_is_finite_and_that_of_the_serving_twin(z: float, skew: float, tail: float) -> None:
    found = GRADIENT(*(jnp.float32(part) for part in (z, 0.0, skew, tail)))
    assert all(bool(jnp.isfinite(part)) for part in found)
    step = 1e-5 * tail

    def at(by_scale: float, by_tail: float) -> float:
        return skew_t_logpdf(z, float(np.exp(by_scale)), skew, tail + by_tail)

    by_scale = (at(1e-5, 0.0) - at(-1e-5, 0.0)) / 2e-5
    assert float(found[1]) == pytest.approx(by_scale, rel=1e-3, abs=1e-3)
    assert float(found[3]) == pytest.approx((at(0.0, step) - at(0.0, -step)) / (2 * step), rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("z", [0.0, 1e6, -1e12])
@pytest.mark.parametrize("tail", [2.01, 2.5, 1e4])
def test_extremes_stay_finite(z: float, tail: float) -> None:
    value, gradient = jax.value_and_grad(log_density, argnums=(0, 1, 2, 3))(
        jnp.float32(z), jnp.float32(-9.0), jnp.float32(0.5), jnp.float32(tail)
    )
    assert bool(jnp.isfinite(value))
    assert all(bool(jnp.isfinite(part)) for part in gradient)


def test_a_scale_that_is_learnt_is_the_one_that_was_drawn_from() -> None:
    from crypy.distributions.skew_t import ZeroMeanSkewStudentT

    returns = jnp.asarray(ZeroMeanSkewStudentT(0.02, -0.1, 4.0).sample(np.random.default_rng(3), 20_000), jnp.float32)

    def loss(theta: jax.Array) -> jax.Array:
        return -log_density(returns, theta[0], jnp.tanh(theta[1]), 2.0 + jnp.exp(theta[2])).mean()

    theta = jnp.array([np.log(0.05), 0.0, 1.0], jnp.float32)

    @jax.jit
    def step(theta: jax.Array) -> jax.Array:
        return theta - 0.7 * jnp.linalg.solve(jax.hessian(loss)(theta) + 0.1 * jnp.eye(3), jax.grad(loss)(theta))

    for _ in range(40):
        theta = step(theta)
    assert float(jnp.exp(theta[0])) == pytest.approx(0.02, rel=0.02)
    assert float(jnp.tanh(theta[1])) == pytest.approx(-0.1, abs=0.03)
    assert 2.0 + float(jnp.exp(theta[2])) == pytest.approx(4.0, abs=0.4)
