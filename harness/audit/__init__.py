"""A mutation test of the verdicts: every ✅ again, with a saboteur between declaration and upstream."""
