"""Which steps lead to the present schema? In order."""
