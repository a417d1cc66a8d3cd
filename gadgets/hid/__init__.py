"""Human interface devices."""
