"""Recorded robot episodes as samples: LeRobot v3, LIBERO's and ManiSkill's HDF5, and their normalisation statistics."""
