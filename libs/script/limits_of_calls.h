#pragma once

#include <cstddef>

/// Bounds on what scripts ask of their host; worker and pool both hold them.
namespace millrace::script {

inline constexpr size_t kMaxQuestionName = 64;
inline constexpr size_t kMaxQuestionBytes = 4 << 20;
inline constexpr size_t kMaxAnswerBytes = 8 << 20;
inline constexpr size_t kMaxQuestionsOfCall = 64;       // under way at once
inline constexpr size_t kMaxQuestionsOfWorker = 4'096;  // the same, of all calls

}  // namespace millrace::script
