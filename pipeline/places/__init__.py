"""Places on a grid: regions, the cells they cover, and coastlines."""
