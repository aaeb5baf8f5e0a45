"""Pictures in, files out: reads what a person or a site offers, and saves what was made. Orders nothing."""
