GEOMETRY: dict[str, dict[str, tuple[int, int, int, int, bool]]] = {}
