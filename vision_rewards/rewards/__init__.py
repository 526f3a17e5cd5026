"""One reward per file; `vision_rewards.registry` names them."""
