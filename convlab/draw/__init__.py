"The picture language, films, the live pieces and the workbook."
