#include "libs/event/json_index.h"

#include <bit>
#include <cstring>

#include "libs/event/blocks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace millrace::event {
namespace {

constexpr size_t kBlock = 64;

// The last block, filled up with spaces.
struct LastBlock {
  explicit LastBlock(std::string_view rest) {
    std::memset(bytes, ' ', kBlock);
    std::memcpy(bytes, rest.data(), rest.size());
  }
  char bytes[kBlock];
};

// True: there are backslashes. Always inline, so that it takes on the instructions of its caller.
[[gnu::always_inline]] inline bool BuildWith(Block (*read)(const char*),
                                             uint64_t (*within)(uint64_t), std::string_view text,
                                             uint64_t* quotes, uint64_t* brackets) {
  BlockState state;
  uint64_t backslashes = 0;
  for (; !text.empty(); text.remove_prefix(std::min(kBlock, text.size()))) {
    const Block block =
        TakeBlock(read(text.size() < kBlock ? LastBlock(text).bytes : text.data()), &state, within);
    *quotes++ = block.quotes;
    *brackets++ = block.brackets;
    backslashes |= block.backslashes;
  }
  return backslashes != 0;
}

bool BuildPlainly(std::string_view text, uint64_t* quotes, uint64_t* brackets) {
  return BuildWith(&ReadBlock, &Within, text, quotes, brackets);
}

#if defined(__x86_64__)
#define MILLRACE_AVX2 __attribute__((target("avx2,pclmul")))
#define MILLRACE_AVX512 __attribute__((target("avx512bw,pclmul")))

MILLRACE_AVX2 inline uint64_t BothHalves(__m256i low, __m256i high) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
         static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(high))) << 32;
}

MILLRACE_AVX2 inline Block ReadBlockAvx2(const char* at) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
  const __m256i quote = _mm256_set1_epi8('"'), backslash = _mm256_set1_epi8('\\');
  const __m256i open = _mm256_set1_epi8('{'), close = _mm256_set1_epi8('}');
  const __m256i bit = _mm256_set1_epi8(kBracketBit);
  const __m256i low_folded = _mm256_or_si256(low, bit), high_folded = _mm256_or_si256(high, bit);
  return {.quotes = BothHalves(_mm256_cmpeq_epi8(low, quote), _mm256_cmpeq_epi8(high, quote)),
          .backslashes =
              BothHalves(_mm256_cmpeq_epi8(low, backslash), _mm256_cmpeq_epi8(high, backslash)),
          .brackets = BothHalves(_mm256_or_si256(_mm256_cmpeq_epi8(low_folded, open),
                                                 _mm256_cmpeq_epi8(low_folded, close)),
                                 _mm256_or_si256(_mm256_cmpeq_epi8(high_folded, open),
                                                 _mm256_cmpeq_epi8(high_folded, close)))};
}

MILLRACE_AVX512 inline Block ReadBlockAvx512(const char* at) {
  const __m512i bytes = _mm512_loadu_si512(at);
  const __m512i folded = _mm512_or_si512(bytes, _mm512_set1_epi8(kBracketBit));
  return {.quotes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"')),
          .backslashes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\\')),
          .brackets = _mm512_cmpeq_epi8_mask(folded, _mm512_set1_epi8('{')) |
                      _mm512_cmpeq_epi8_mask(folded, _mm512_set1_epi8('}'))};
}

__attribute__((target("pclmul"))) inline uint64_t WithinByMultiplying(uint64_t quotes) {
  const __m128i product = _mm_clmulepi64_si128(_mm_set_epi64x(0, static_cast<int64_t>(quotes)),
                                               _mm_set1_epi8(static_cast<char>(0xff)), 0);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(product));
}

MILLRACE_AVX2 bool BuildAvx2(std::string_view text, uint64_t* quotes, uint64_t* brackets) {
  return BuildWith(&ReadBlockAvx2, &WithinByMultiplying, text, quotes, brackets);
}

MILLRACE_AVX512 bool BuildAvx512(std::string_view text, uint64_t* quotes, uint64_t* brackets) {
  return BuildWith(&ReadBlockAvx512, &WithinByMultiplying, text, quotes, brackets);
}
#endif

JsonIndex::Instructions Best() {
  using enum JsonIndex::Instructions;
  return JsonIndex::Has(kAvx512) ? kAvx512 : JsonIndex::Has(kAvx2) ? kAvx2 : kPlain;
}

}  // namespace

bool JsonIndex::Has(Instructions instructions) {
  if (instructions == Instructions::kPlain) return true;
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("pclmul")) return false;
  return instructions == Instructions::kAvx2 ? __builtin_cpu_supports("avx2") != 0
                                             : __builtin_cpu_supports("avx512bw") != 0;
#else
  return false;
#endif
}

void JsonIndex::Build(std::string_view text) {
  static const Instructions best = Best();
  Build(text, best);
}

void JsonIndex::Build(std::string_view text, Instructions instructions) {
  text_ = text;
  const size_t blocks = (text.size() + kBlock - 1) / kBlock;
  quotes_.resize(blocks);
  brackets_.resize(blocks);
  auto* build = &BuildPlainly;
#if defined(__x86_64__)
  if (instructions == Instructions::kAvx2) build = &BuildAvx2;
  if (instructions == Instructions::kAvx512) build = &BuildAvx512;
#endif
  has_backslashes_ = build(text, quotes_.data(), brackets_.data());
}

const char* JsonIndex::SkipNested(const char* at) const {
  const auto from = static_cast<size_t>(at - text_.data());
  int level = 0;
  uint64_t wanted = ~uint64_t{0} << from % kBlock;
  for (size_t block = from / kBlock; block < brackets_.size(); ++block) {
    const char* const bytes = text_.data() + block * kBlock;
    for (uint64_t left = brackets_[block] & wanted; left != 0; left &= left - 1) {
      const int i = std::countr_zero(left);
      level += IsOpening(bytes[i]) ? 1 : -1;
      if (level == 0) return bytes + i + 1;
    }
    wanted = ~uint64_t{0};
  }
  return nullptr;
}

}  // namespace millrace::event
