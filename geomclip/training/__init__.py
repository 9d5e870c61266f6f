"""Fine-tuning: methods (a table), one trainer, runs that survive their process, and what comes after."""
