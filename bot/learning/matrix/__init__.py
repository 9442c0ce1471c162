"""Which way to answer is best for these documents and these questions: arms, cases, runs, figures, and the page."""
