"""What this machine has ordered, so that nothing that was paid for is lost. Losing the journal loses no job."""
