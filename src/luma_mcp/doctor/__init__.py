"""What is well on this machine and what is not, each failure with its mend. Changes nothing, orders nothing."""
