"""First-party losses."""

from __future__ import annotations

from recurra import Component, hookimpl


@hookimpl
def recurra_components() -> list[Component]:
    """Return the losses."""
    likelihood = "negative log-likelihood of the symbol that came, in nats"
    paper = "Huber 1964, doi:10.1214/aoms/1177703732"
    nll = "negative log-likelihood of"
    deepar = "Salinas et al. 2017, arXiv:1704.04110"
    pinball = "Koenker & Bassett 1978, doi:10.2307/1913643"
    rows = [
        ("cross_entropy", "CrossEntropy", likelihood, "", "1.1"),
        ("mse", "MSE", "squared error, mean over the features", "", "1.1"),
        ("mae", "MAE", "absolute error, mean over the features", "", "1.1"),
        ("huber", "Huber", "squared error near 0, absolute beyond delta", paper, "1.1"),
        ("gaussian_nll", "GaussianNLL", f"{nll} a normal distribution", "", "1.1"),
        ("laplace_nll", "LaplaceNLL", f"{nll} a Laplace distribution", "", "1.1"),
        ("student_t", "StudentT", f"{nll} Student's t distribution", deepar, "1.1"),
        ("poisson", "Poisson", f"{nll} a Poisson distribution of counts", "", "1.1"),
        ("negative_binomial", "NegativeBinomial", f"{nll} counts that vary more", deepar, "1.1"),
        ("quantile", "Quantile", "pinball loss of quantiles that never cross", pinball, "1.1"),
    ]
    return [
        Component(
            kind="loss",
            name=name,
            target=f"recurra_losses.{name}:{title}",
            options=f"recurra_losses.options:{title}Options",
            summary=summary,
            cite=cite,
            api=api,
        )
        for name, title, summary, cite, api in rows
    ]
