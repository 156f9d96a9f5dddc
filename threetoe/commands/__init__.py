"""python -m threetoe ...; whatever may know all flows."""
