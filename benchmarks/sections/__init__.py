"""What is measured. Every section is a function of the setting that gives its findings."""
