"""What mmrl's methods compute, against the published losses written out by themselves."""
