// The arithmetic of alexnet.ResponseNorm, free of any runtime: y = x / (k + alpha * sum of x^2 over adjacent maps)^beta.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

// GCC compiles the loops once for plain x86-64 and once for AVX2 with FMA, and the loader picks what the machine has.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define ALEXNET_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define ALEXNET_CLONES
#endif
#define ALEXNET_INLINE inline __attribute__((always_inline))

namespace alexnet {

struct Norm {
  int64_t size;
  int64_t groups;
  float alpha;
  float beta;
  float k;
};

// Positions that are normalised together: the squares of a few maps' parts stay in the first-level cache.
constexpr int64_t kBlock = 512;

// Normalises `count` <= kBlock positions of the `width` maps of one group; a map is `plane` values after the last one.
// The sum of squares is taken anew for each map: a sliding sum would lose small values beside large ones.
template <typename T>
ALEXNET_INLINE void normalise(const T* x, T* y, int64_t width, int64_t plane, int64_t count, const Norm& norm) {
  float sum[kBlock];
  const int64_t half = norm.size / 2;
  for (int64_t map = 0; map < width; ++map) {
    std::fill(sum, sum + count, 0.0f);
    const int64_t last = std::min(width - 1, map + half);
    for (int64_t near = std::max<int64_t>(0, map - half); near <= last; ++near) {
      const T* from = x + near * plane;
      for (int64_t p = 0; p < count; ++p) {
        const float value = static_cast<float>(from[p]);
        sum[p] += value * value;
      }
    }
    const T* from = x + map * plane;
    T* to = y + map * plane;
    if (norm.beta == 0.75f) {
      for (int64_t p = 0; p < count; ++p) {
        const float root = std::sqrt(norm.k + norm.alpha * sum[p]);
        to[p] = static_cast<T>(static_cast<float>(from[p]) / (root * std::sqrt(root)));
      }
    } else {
      for (int64_t p = 0; p < count; ++p) {
        const float power = std::pow(norm.k + norm.alpha * sum[p], norm.beta);
        to[p] = static_cast<T>(static_cast<float>(from[p]) / power);
      }
    }
  }
}

ALEXNET_CLONES inline void normalise_block(
    const float* x, float* y, int64_t width, int64_t plane, int64_t count, const Norm& norm) {
  normalise(x, y, width, plane, count, norm);
}

ALEXNET_CLONES inline void normalise_block(
    const _Float16* x, _Float16* y, int64_t width, int64_t plane, int64_t count, const Norm& norm) {
  normalise(x, y, width, plane, count, norm);
}

// A whole tensor [N, C, H, W] cut into parts that may be computed in any order, at the same time.
template <typename T>
struct Work {
  const T* x;
  T* y;
  int64_t width;   // maps in a group
  int64_t plane;   // positions in a map
  int64_t blocks;  // parts of a map
  Norm norm;

  int64_t parts(int64_t pictures) const { return pictures * norm.groups * blocks; }

  void run(int64_t part) const {
    const int64_t first = part % blocks * kBlock;
    const int64_t start = part / blocks * width * plane + first;
    normalise_block(x + start, y + start, width, plane, std::min(kBlock, plane - first), norm);
  }
};

}  // namespace alexnet
