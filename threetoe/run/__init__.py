"""The run folder, written last and whole; its base, its prompt contract. What train leaves and the
others take up.
"""
