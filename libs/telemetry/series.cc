#include "libs/telemetry/series.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace millrace::telemetry {
namespace {

void AppendNumber(double value, std::string& out) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, value);
    out.append(text, end.ptr);
  }
}

void AppendLine(const std::string& name, std::string_view suffix, const std::string& labels,
                std::string_view more, double value, std::string& out) {
  out += name;
  out += suffix;
  if (!labels.empty() || !more.empty()) {
    out += '{';
    out += labels;
    if (!labels.empty() && !more.empty()) out += ',';
    out += more;
    out += '}';
  }
  out += ' ';
  AppendNumber(value, out);
  out += '\n';
}

void AppendEscaped(std::string_view text, bool quotes, std::string& out) {
  for (const char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out += c;
  }
}

}  // namespace

std::string LabelsText(const Labels& labels) {
  std::string text;
  for (const auto& [label, value] : labels) {
    if (!text.empty()) text += ',';
    text += label;
    text += "=\"";
    AppendEscaped(value, true, text);
    text += '"';
  }
  return text;
}

std::string EscapeHelp(std::string_view help) {
  std::string text;
  AppendEscaped(help, false, text);
  return text;
}

void CounterSeries::Render(const std::string& name, const std::string& labels,
                           std::string& out) const {
  AppendLine(name, "", labels, "", value_.load(std::memory_order_relaxed), out);
}

void GaugeSeries::Render(const std::string& name, const std::string& labels,
                         std::string& out) const {
  AppendLine(name, "", labels, "", value_.load(std::memory_order_relaxed), out);
}

HistogramSeries::HistogramSeries(const std::vector<double>& bounds)
    : bounds_(bounds), buckets_(bounds.size() + 1) {}

void HistogramSeries::Observe(double value) {
  // A bucket takes what is at most its bound.
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  buckets_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void HistogramSeries::Render(const std::string& name, const std::string& labels,
                             std::string& out) const {
  uint64_t count = 0;
  std::vector<uint64_t> up_to(buckets_.size());
  for (size_t i = 0; i < buckets_.size(); ++i) {
    up_to[i] = count += buckets_[i].load(std::memory_order_relaxed);
  }
  AppendLine(name, "_count", labels, "", static_cast<double>(count), out);
  AppendLine(name, "_sum", labels, "", sum_.load(std::memory_order_relaxed), out);
  for (size_t i = 0; i < buckets_.size(); ++i) {
    std::string bound = "le=\"";
    if (i < bounds_.size())
      AppendNumber(bounds_[i], bound);
    else
      bound += "+Inf";
    bound += '"';
    AppendLine(name, "_bucket", labels, bound, static_cast<double>(up_to[i]), out);
  }
}

}  // namespace millrace::telemetry
