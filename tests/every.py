"""Many cases of one claim in one test: faster than a test a case, and a failure still names its
cases."""

SHOWN = 5


def assert_every(cases) -> None:
    """Assert that there are cases, and that what each got is what it wanted; a case is a name,
    what it got, and what it wanted."""
    count, wrong = 0, []
    for name, got, wanted in cases:
        count += 1
        if got != wanted:
            wrong.append(f"{name}\n     got {short(got)}\n  wanted {short(wanted)}")
    assert count, "no cases"
    assert not wrong, "\n".join([f"{len(wrong)} of {count} cases are wrong:", *wrong[:SHOWN]])


def short(value, width=600) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}... ({len(text)} characters)"
