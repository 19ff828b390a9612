"""Framework-free numerics: argument checks and mask builders, identical in both twins."""
