"""stub"""
import math
def wilson_interval(correct: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    p = correct / n
    d = 1 + z*z/n
    c = (p + z*z/(2*n)) / d
    h = z*math.sqrt(p*(1-p)/n + z*z/(4*n*n)) / d
    return c-h, c+h
