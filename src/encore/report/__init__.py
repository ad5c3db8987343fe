"""What a paper reported beside what was reproduced: data, verdicts, and renderings (terminal, Markdown, HTML)."""
