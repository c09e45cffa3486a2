"""Count primes, one segment of a sieve after the other, without end: this job knows no measure."""

from itertools import compress, count

SEGMENT = 1 << 19


def primes_below(limit):
    """Eratosthenes."""
    sieve = bytearray([1]) * limit
    sieve[0:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return list(compress(range(limit), sieve))


def main():
    """Extend the sieve for as long as somebody lets us."""
    small = primes_below(1 << 18)
    total = 0
    for segment in count():
        first = segment * SEGMENT
        sieve = bytearray([1]) * SEGMENT
        if segment == 0:
            sieve[0:2] = b"\0\0"
        for prime in small:
            if prime * prime >= first + SEGMENT:
                break
            start = max(prime * prime, -(-first // prime) * prime) - first
            sieve[start::prime] = bytes(len(range(start, SEGMENT, prime)))
        total += sum(sieve)
        print(f"{total} primes below {first + SEGMENT}", flush=True)


if __name__ == "__main__":
    main()
