"""What runs on a Slurm cluster: jobs that submit what follows them. There is no driver and no polling."""
