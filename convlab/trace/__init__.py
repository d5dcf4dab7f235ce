"Following any model through one real call, operation by operation."
