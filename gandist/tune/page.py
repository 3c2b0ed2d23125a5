from gandist.tune.trials import Findings


def page(findings: Findings) -> str:
    return findings.name
