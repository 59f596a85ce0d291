"""What Rota costs and how fast it is: each module measures one thing; `python -m bench` runs them all."""
