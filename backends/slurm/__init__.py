"""Slurm, by sbatch scripts."""
