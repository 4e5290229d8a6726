"""The kernels for a GPU, in Triton. Importing this package imports triton; nothing outside it does."""
